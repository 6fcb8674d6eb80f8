// One layer of the encoder over sentences that lie end to end, as one operator with its gradient.
//
// x [tokens, hidden]; starts int64 [sentences + 1]: sentence i is the tokens from starts[i] to starts[i + 1] - 1.
// The work is divided among threads by sentences. A thread takes some sentences at a time, so few that what it makes of
// them stays in its cache from one step of the layer to the next. Gradients of weights are products over all tokens,
// made at the end.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "attention.h"
#include "matrix.h"
#include "normalise.h"
#include "numbers.h"
#include "paddle/phi/api/all.h"
#include "threads.h"

namespace ernie {

constexpr int64_t kChunk = 256;  // tokens a thread takes at a time, or one sentence: as many as its caches hold

struct Chunk {
  int64_t first_sentence, last_sentence;  // the last one is not in it
};

// The random masks of a layer: of attention, behind attention, behind the feed-forward part; place 0 is left to the
// embeddings.
struct Masks {
  Masks(const paddle::Tensor& seed, int layer, float attention_rate, float hidden_rate)
      : attention(attention_rate, number(seed), place(layer, 0)),
        attended(hidden_rate, number(seed), place(layer, 1)),
        expanded(hidden_rate, number(seed), place(layer, 2)) {}

  const Dropout attention, attended, expanded;

 private:
  static uint32_t number(const paddle::Tensor& seed) { return static_cast<uint32_t>(seed.data<int64_t>()[0]); }
  static uint32_t place(int layer, int which) { return 1 + 3 * static_cast<uint32_t>(layer) + which; }
};

class Sentences {
 public:
  Sentences(const paddle::Tensor& starts, int threads) : starts_(starts.data<int64_t>()), count_(starts.numel() - 1) {
    // A thread has the sentences whose middle lies in its share of the tokens, whatever else runs on the machine, so
    // that sums over tokens are made in the same order each time. Where OpenMP gives fewer threads than were asked
    // for, one has several shares.
    threads_ = std::max<int>(1, static_cast<int>(std::min<int64_t>(threads, count_)));
    shares_.resize(threads_);
    int64_t sentence = 0;
    const int64_t tokens = starts_[count_];
    for (int thread = 0; thread < threads_; ++thread) {
      const int64_t end = tokens * (thread + 1) / threads_;
      int64_t held = 0, first = sentence;
      for (; sentence < count_ && (starts_[sentence] + starts_[sentence + 1]) / 2 < end; ++sentence) {
        const int64_t length = starts_[sentence + 1] - starts_[sentence];
        if (held && held + length > kChunk) {
          shares_[thread].push_back({first, sentence});
          first = sentence;
          held = 0;
        }
        held += length;
      }
      if (sentence > first) shares_[thread].push_back({first, sentence});
    }
    for (const auto& share : shares_)
      for (const Chunk& chunk : share) {
        most_ = std::max(most_, starts_[chunk.last_sentence] - starts_[chunk.first_sentence]);
        for (int64_t i = chunk.first_sentence; i < chunk.last_sentence; ++i)
          longest_ = std::max(longest_, starts_[i + 1] - starts_[i]);
      }
  }

  int threads() const { return threads_; }
  int64_t most() const { return most_; }        // tokens of the largest chunk
  int64_t longest() const { return longest_; }  // tokens of the longest sentence
  int64_t start(int64_t sentence) const { return starts_[sentence]; }
  const std::vector<Chunk>& share(int thread) const { return shares_[thread]; }

 private:
  const int64_t* starts_;
  int64_t count_, most_ = 0, longest_ = 0;
  int threads_;
  std::vector<std::vector<Chunk>> shares_;
};

inline void add_bias(int64_t rows, int columns, float* x, int stride, const float* bias) {
  for (int64_t i = 0; i < rows; ++i) {
    float* row = x + i * stride;
#pragma omp simd
    for (int j = 0; j < columns; ++j) row[j] += bias[j];
  }
}

inline void add_rows(int64_t rows, int columns, const float* x, int stride, float* total) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = x + i * stride;
#pragma omp simd
    for (int j = 0; j < columns; ++j) total[j] += row[j];
  }
}

inline paddle::Tensor room(std::vector<int64_t> shape) {
  return paddle::empty(shape, paddle::DataType::FLOAT32, paddle::CPUPlace());
}

// [hidden, 3 hidden]: the matrices of query, key and value side by side. One wide product takes less time than three.
inline paddle::Tensor side_by_side(const paddle::Tensor& query, const paddle::Tensor& key,
                                   const paddle::Tensor& value) {
  const int64_t hidden = query.shape()[0];
  auto joined = room({hidden, 3 * hidden});
  const float* parts[] = {query.data<float>(), key.data<float>(), value.data<float>()};
  for (int64_t i = 0; i < hidden; ++i)
    for (int part = 0; part < 3; ++part)
      std::copy(parts[part] + i * hidden, parts[part] + (i + 1) * hidden,
                joined.data<float>() + (3 * i + part) * hidden);
  return joined;
}

inline paddle::Tensor part_of(const paddle::Tensor& joined, int part) {
  const int64_t hidden = joined.shape()[0];
  auto found = room({hidden, hidden});
  for (int64_t i = 0; i < hidden; ++i) {
    const float* row = joined.data<float>() + (3 * i + part) * hidden;
    std::copy(row, row + hidden, found.data<float>() + i * hidden);
  }
  return found;
}

std::vector<paddle::Tensor> encoder_layer(
    const paddle::Tensor& x, const paddle::Tensor& starts, const paddle::Tensor& seed, const paddle::Tensor& query,
    const paddle::Tensor& query_bias, const paddle::Tensor& key, const paddle::Tensor& key_bias,
    const paddle::Tensor& value, const paddle::Tensor& value_bias, const paddle::Tensor& output,
    const paddle::Tensor& output_bias, const paddle::Tensor& norm_scale, const paddle::Tensor& norm_shift,
    const paddle::Tensor& ffn_in, const paddle::Tensor& ffn_in_bias, const paddle::Tensor& ffn_out,
    const paddle::Tensor& ffn_out_bias, const paddle::Tensor& ffn_norm_scale, const paddle::Tensor& ffn_norm_shift,
    int layer, int heads, int activation, float attention_dropout, float hidden_dropout, float epsilon) {
  const int64_t tokens = x.shape()[0];
  const int hidden = static_cast<int>(x.shape()[1]), wide = static_cast<int>(ffn_in.shape()[1]);
  const int size = hidden / heads, triple = 3 * hidden;
  const Masks masks(seed, layer, attention_dropout, hidden_dropout);
  auto y = room({tokens, hidden}), qkv = room({tokens, triple}), context = room({tokens, hidden});
  auto norms = room({tokens, heads}), attended = room({tokens, hidden}), attended_inverse = room({tokens});
  auto expanded = room({tokens, wide}), normed = room({tokens, hidden}), inverse = room({tokens});
  const Sentences sentences(starts, omp_get_max_threads());
  const int64_t most = sentences.most(), longest = sentences.longest();
  const int64_t each = most * (2 * hidden + wide) + longest * longest;
  auto scratch = room({sentences.threads(), each});
  const auto joined = side_by_side(query, key, value);

#pragma omp parallel for schedule(static, 1) num_threads(sentences.threads())
  for (int me = 0; me < sentences.threads(); ++me) {
    const OneThread alone;
    float* summed = scratch.data<float>() + me * each;  // [most, hidden]
    float* between = summed + most * hidden;            // [most, hidden]
    float* active = between + most * hidden;            // [most, wide]
    float* scores = active + most * wide;               // [longest, longest]
    for (const Chunk& chunk : sentences.share(me)) {
      const int64_t first = sentences.start(chunk.first_sentence);
      const int64_t rows = sentences.start(chunk.last_sentence) - first;
      const float* in = x.data<float>() + first * hidden;
      float* mixed = qkv.data<float>() + first * triple;
      product(rows, triple, hidden, in, hidden, joined.data<float>(), triple, mixed, triple);
      add_bias(rows, hidden, mixed, triple, query_bias.data<float>());
      add_bias(rows, hidden, mixed + hidden, triple, key_bias.data<float>());
      add_bias(rows, hidden, mixed + 2 * hidden, triple, value_bias.data<float>());
      for (int64_t i = chunk.first_sentence; i < chunk.last_sentence; ++i) {
        const int64_t begin = sentences.start(i);
        const HeadShape shape{static_cast<int>(sentences.start(i + 1) - begin), size, triple, hidden,
                              1.0f / std::sqrt(static_cast<float>(size))};
        const float* own = qkv.data<float>() + begin * triple;
        for (int head = 0; head < heads; ++head)
          attend(shape, own + head * size, own + hidden + head * size, own + 2 * hidden + head * size,
                 context.data<float>() + begin * hidden + head * size, norms.data<float>() + begin * heads + head,
                 heads, scores, masks.attention, begin, heads, head);
      }
      product(rows, hidden, hidden, context.data<float>() + first * hidden, hidden, output.data<float>(), hidden,
              summed, hidden);
      for (int64_t i = 0; i < rows; ++i)
        attended_inverse.data<float>()[first + i] = normalise_row(
            hidden, summed + i * hidden, output_bias.data<float>(), in + i * hidden, norm_scale.data<float>(),
            norm_shift.data<float>(), epsilon, masks.attended, first + i,
            attended.data<float>() + (first + i) * hidden, between + i * hidden);
      float* before = expanded.data<float>() + first * wide;
      product(rows, wide, hidden, between, hidden, ffn_in.data<float>(), wide, before, wide);
      for (int64_t i = 0; i < rows; ++i)
        activate(wide, static_cast<Activation>(activation), ffn_in_bias.data<float>(), before + i * wide,
                 active + i * wide);
      product(rows, hidden, wide, active, wide, ffn_out.data<float>(), hidden, summed, hidden);
      for (int64_t i = 0; i < rows; ++i)
        inverse.data<float>()[first + i] = normalise_row(
            hidden, summed + i * hidden, ffn_out_bias.data<float>(), between + i * hidden,
            ffn_norm_scale.data<float>(), ffn_norm_shift.data<float>(), epsilon, masks.expanded, first + i,
            normed.data<float>() + (first + i) * hidden, y.data<float>() + (first + i) * hidden);
    }
  }
  check_products();
  return {y, qkv, context, norms, attended, attended_inverse, expanded, normed, inverse};
}

// Sums over tokens that every thread makes for itself: the gradients of biases and layer norms.
class Sums {
 public:
  Sums(int threads, int hidden, int wide)
      : hidden_(hidden), wide_(wide), each_(9 * hidden + wide), values_(static_cast<size_t>(threads) * each_, 0.0f) {}

  // which: 0 to 8, in the order of the tensors that `hand_out` receives
  float* of(int thread, int which) { return values_.data() + static_cast<int64_t>(thread) * each_ + which * hidden_; }
  float* wide(int thread) { return of(thread, 9); }

  paddle::Tensor total(int threads, int which) {
    const int n = which == 9 ? wide_ : hidden_;
    auto found = room({n});
    float* to = found.data<float>();
    std::copy(of(0, which), of(0, which) + n, to);
    for (int thread = 1; thread < threads; ++thread)
      for (int j = 0; j < n; ++j) to[j] += of(thread, which)[j];
    return found;
  }

 private:
  int hidden_, wide_;
  int64_t each_;
  std::vector<float> values_;
};

std::vector<paddle::Tensor> encoder_layer_backward(
    const paddle::Tensor& x, const paddle::Tensor& starts, const paddle::Tensor& seed, const paddle::Tensor& query,
    const paddle::Tensor& key, const paddle::Tensor& value, const paddle::Tensor& output,
    const paddle::Tensor& norm_scale, const paddle::Tensor& norm_shift, const paddle::Tensor& ffn_in,
    const paddle::Tensor& ffn_out, const paddle::Tensor& ffn_norm_scale, const paddle::Tensor& qkv,
    const paddle::Tensor& context, const paddle::Tensor& norms, const paddle::Tensor& attended,
    const paddle::Tensor& attended_inverse, const paddle::Tensor& expanded, const paddle::Tensor& normed,
    const paddle::Tensor& inverse, const paddle::Tensor& d_y, int layer, int heads, int activation,
    float attention_dropout, float hidden_dropout, float epsilon) {
  const int64_t tokens = x.shape()[0];
  const int hidden = static_cast<int>(x.shape()[1]), wide = static_cast<int>(ffn_in.shape()[1]);
  const int size = hidden / heads, triple = 3 * hidden;
  const Masks masks(seed, layer, attention_dropout, hidden_dropout);
  const Sentences sentences(starts, omp_get_max_threads());
  const int threads = sentences.threads();
  const int64_t most = sentences.most(), longest = sentences.longest();
  // Over all tokens, for the products at the end: inputs of the feed-forward part and gradients.
  auto d_x = room({tokens, hidden}), between = room({tokens, hidden}), active = room({tokens, wide});
  auto d_expanded = room({tokens, wide}), d_out = room({tokens, hidden}), d_attended = room({tokens, hidden});
  auto d_qkv = room({tokens, triple});
  const int64_t each = most * 3 * hidden + 2 * longest * longest;
  auto scratch = room({threads, each});
  Sums sums(threads, hidden, wide);
  const auto joined = side_by_side(query, key, value);

#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int me = 0; me < threads; ++me) {
    const OneThread alone;
    float* d_second = scratch.data<float>() + me * each;  // [most, hidden]: before the second layer norm
    float* d_between = d_second + most * hidden;          // [most, hidden]: behind the first one
    float* d_context = d_between + most * hidden;         // [most, hidden]
    float* scores = d_context + most * hidden;            // [longest, longest], twice
    for (const Chunk& chunk : sentences.share(me)) {
      const int64_t first = sentences.start(chunk.first_sentence);
      const int64_t rows = sentences.start(chunk.last_sentence) - first;
      float* d_in = d_x.data<float>() + first * hidden;
      float* d_last = d_out.data<float>() + first * hidden;
      for (int64_t i = 0; i < rows; ++i)
        normalise_row_backward(hidden, d_y.data<float>() + (first + i) * hidden,
                               normed.data<float>() + (first + i) * hidden, inverse.data<float>()[first + i],
                               ffn_norm_scale.data<float>(), masks.expanded, first + i, d_second + i * hidden,
                               d_last + i * hidden, sums.of(me, 0), sums.of(me, 1), sums.of(me, 2));
      float *d_wide = d_expanded.data<float>() + first * wide, *act = active.data<float>() + first * wide;
      product_transposed(rows, wide, hidden, d_last, hidden, ffn_out.data<float>(), hidden, d_wide, wide);
      for (int64_t i = 0; i < rows; ++i)
        activate_backward(wide, static_cast<Activation>(activation), expanded.data<float>() + (first + i) * wide,
                          act + i * wide, d_wide + i * wide, sums.wide(me));
      product_transposed(rows, hidden, wide, d_wide, wide, ffn_in.data<float>(), wide, d_second, hidden, 1.0f);
      float* d_first = d_attended.data<float>() + first * hidden;
      for (int64_t i = 0; i < rows; ++i) {
        const float* unit = attended.data<float>() + (first + i) * hidden;
        float* again = between.data<float>() + (first + i) * hidden;
        const float *scale = norm_scale.data<float>(), *shift = norm_shift.data<float>();
#pragma omp simd
        for (int j = 0; j < hidden; ++j) again[j] = unit[j] * scale[j] + shift[j];
        normalise_row_backward(hidden, d_second + i * hidden, unit, attended_inverse.data<float>()[first + i], scale,
                               masks.attended, first + i, d_in + i * hidden, d_first + i * hidden, sums.of(me, 3),
                               sums.of(me, 4), sums.of(me, 5));
      }
      product_transposed(rows, hidden, hidden, d_first, hidden, output.data<float>(), hidden, d_context, hidden);
      for (int64_t i = chunk.first_sentence; i < chunk.last_sentence; ++i) {
        const int64_t begin = sentences.start(i);
        const HeadShape shape{static_cast<int>(sentences.start(i + 1) - begin), size, triple, hidden,
                              1.0f / std::sqrt(static_cast<float>(size))};
        const float* own = qkv.data<float>() + begin * triple;
        float* d_own = d_qkv.data<float>() + begin * triple;
        for (int head = 0; head < heads; ++head) {
          const int at = head * size;
          attend_backward(shape, own + at, own + hidden + at, own + 2 * hidden + at,
                          context.data<float>() + begin * hidden + at, d_context + (begin - first) * hidden + at,
                          norms.data<float>() + begin * heads + head, heads, d_own + at, d_own + hidden + at,
                          d_own + 2 * hidden + at, scores, scores + longest * longest, masks.attention, begin, heads,
                          head);
        }
      }
      const float* d_mixed = d_qkv.data<float>() + first * triple;
      product_transposed(rows, hidden, triple, d_mixed, triple, joined.data<float>(), triple, d_in, hidden, 1.0f);
      add_rows(rows, triple, d_mixed, triple, sums.of(me, 6));
    }
  }
  auto d_joined = room({hidden, triple}), d_output = room({hidden, hidden});
  auto d_ffn_in = room({hidden, wide}), d_ffn_out = room({wide, hidden});
  const int all = omp_get_max_threads();
#pragma omp parallel for schedule(static, 1) num_threads(all)
  for (int me = 0; me < all; ++me) {
    const OneThread alone;
    auto slice = [&](int m, int n, const paddle::Tensor& a, const paddle::Tensor& b, paddle::Tensor& c) {
      transposed_product_slice(me, all, m, n, static_cast<int>(tokens), a.data<float>(), m, b.data<float>(), n,
                               c.data<float>(), n);
    };
    slice(hidden, triple, x, d_qkv, d_joined);
    slice(hidden, hidden, context, d_attended, d_output);
    slice(hidden, wide, between, d_expanded, d_ffn_in);
    slice(wide, hidden, active, d_out, d_ffn_out);
  }
  check_products();
  auto total = [&](int which) { return sums.total(threads, which); };
  return {d_x,      part_of(d_joined, 0), total(6), part_of(d_joined, 1), total(7), part_of(d_joined, 2),
          total(8), d_output,             total(5), total(3),             total(4), d_ffn_in,
          total(9), d_ffn_out,            total(2), total(0),             total(1)};
}

using Shape = std::vector<int64_t>;

std::vector<Shape> encoder_layer_shapes(const Shape& x, const Shape&, const Shape&, const Shape&, const Shape&,
                                        const Shape&, const Shape&, const Shape&, const Shape&, const Shape&,
                                        const Shape&, const Shape&, const Shape&, const Shape& ffn_in, const Shape&,
                                        const Shape&, const Shape&, const Shape&, const Shape&, int layer, int heads) {
  (void)layer;
  const int64_t tokens = x[0], hidden = x[1];
  return {x, {tokens, 3 * hidden}, x, {tokens, heads}, x, {tokens}, {tokens, ffn_in[1]}, x, {tokens}};
}

std::vector<Shape> encoder_layer_backward_shapes(
    const Shape& x, const Shape&, const Shape&, const Shape& query, const Shape&, const Shape&, const Shape&,
    const Shape& norm_scale, const Shape&, const Shape& ffn_in, const Shape& ffn_out, const Shape&, const Shape&,
    const Shape&, const Shape&, const Shape&, const Shape&, const Shape&, const Shape&, const Shape&, const Shape&) {
  const Shape row = norm_scale, wide = {ffn_in[1]};
  return {x, query, row, query, row, query, row, query, row, row, row, ffn_in, wide, ffn_out, row, row, row};
}

using Type = paddle::DataType;

std::vector<Type> encoder_layer_types(const Type& x, const Type&, const Type&, const Type&, const Type&, const Type&,
                                      const Type&, const Type&, const Type&, const Type&, const Type&, const Type&,
                                      const Type&, const Type&, const Type&, const Type&, const Type&, const Type&,
                                      const Type&) {
  return std::vector<Type>(9, x);
}

}  // namespace ernie

#define ATTRIBUTES                                                                               \
  "layer: int", "heads: int", "activation: int", "attention_dropout: float", "hidden_dropout: float", \
      "epsilon: float"

PD_BUILD_OP(ernie_encoder_layer)
    .Inputs({"x", "starts", "seed", "query", "query_bias", "key", "key_bias", "value", "value_bias", "output",
             "output_bias", "norm_scale", "norm_shift", "ffn_in", "ffn_in_bias", "ffn_out", "ffn_out_bias",
             "ffn_norm_scale", "ffn_norm_shift"})
    .Outputs({"y", "qkv", "context", "norms", "attended", "attended_inverse", "expanded", "normed", "inverse"})
    .Attrs({ATTRIBUTES})
    .SetKernelFn(PD_KERNEL(ernie::encoder_layer))
    .SetInferShapeFn(PD_INFER_SHAPE(ernie::encoder_layer_shapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(ernie::encoder_layer_types));

PD_BUILD_GRAD_OP(ernie_encoder_layer)
    .Inputs({"x", "starts", "seed", "query", "key", "value", "output", "norm_scale", "norm_shift", "ffn_in", "ffn_out",
             "ffn_norm_scale", "qkv", "context", "norms", "attended", "attended_inverse", "expanded", "normed",
             "inverse", paddle::Grad("y")})
    .Outputs({paddle::Grad("x"), paddle::Grad("query"), paddle::Grad("query_bias"), paddle::Grad("key"),
              paddle::Grad("key_bias"), paddle::Grad("value"), paddle::Grad("value_bias"), paddle::Grad("output"),
              paddle::Grad("output_bias"), paddle::Grad("norm_scale"), paddle::Grad("norm_shift"),
              paddle::Grad("ffn_in"), paddle::Grad("ffn_in_bias"), paddle::Grad("ffn_out"),
              paddle::Grad("ffn_out_bias"), paddle::Grad("ffn_norm_scale"), paddle::Grad("ffn_norm_shift")})
    .Attrs({ATTRIBUTES})
    .SetKernelFn(PD_KERNEL(ernie::encoder_layer_backward))
    .SetInferShapeFn(PD_INFER_SHAPE(ernie::encoder_layer_backward_shapes));
