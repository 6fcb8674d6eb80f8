// Scores of picked tokens over the vocabulary, x W + bias, as one operator with its gradient: the widest matrix product
// of pre-training. Threads share the vocabulary, or, for the gradient of x, the tokens.
#include <omp.h>

#include <vector>

#include "matrix.h"
#include "paddle/phi/api/all.h"
#include "threads.h"

namespace ernie {

// x [tokens, hidden]; weight [vocabulary, hidden] if `by_rows`, as a word embedding has it, else [hidden, vocabulary].
std::vector<paddle::Tensor> scores(const paddle::Tensor& x, const paddle::Tensor& weight, const paddle::Tensor& bias,
                                   bool by_rows) {
  const int tokens = static_cast<int>(x.shape()[0]), hidden = static_cast<int>(x.shape()[1]);
  const int words = static_cast<int>(bias.numel()), threads = omp_get_max_threads();
  auto found = paddle::empty({tokens, words}, paddle::DataType::FLOAT32, paddle::CPUPlace());
  const float *in = x.data<float>(), *matrix = weight.data<float>(), *offset = bias.data<float>();
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int me = 0; me < threads; ++me) {
    const OneThread alone;
    const Slice own(words, me, threads);
    if (!own.count || !tokens) continue;
    float* out = found.data<float>() + own.first;
    if (by_rows)
      product_transposed(tokens, own.count, hidden, in, hidden, matrix + static_cast<int64_t>(own.first) * hidden,
                         hidden, out, words);
    else
      product(tokens, own.count, hidden, in, hidden, matrix + own.first, words, out, words);
    for (int64_t i = 0; i < tokens; ++i) {
#pragma omp simd
      for (int j = 0; j < own.count; ++j) out[i * words + j] += offset[own.first + j];
    }
  }
  check_products();
  return {found};
}

std::vector<paddle::Tensor> scores_backward(const paddle::Tensor& x, const paddle::Tensor& weight,
                                            const paddle::Tensor& d_scores, bool by_rows) {
  const int tokens = static_cast<int>(x.shape()[0]), hidden = static_cast<int>(x.shape()[1]);
  const int words = static_cast<int>(d_scores.shape()[1]), threads = omp_get_max_threads();
  auto room = [](std::vector<int64_t> shape) {
    return paddle::empty(shape, paddle::DataType::FLOAT32, paddle::CPUPlace());
  };
  auto d_x = room(x.shape()), d_weight = room(weight.shape()), d_bias = room({words});
  const float *in = x.data<float>(), *matrix = weight.data<float>(), *slope = d_scores.data<float>();
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int me = 0; me < threads; ++me) {
    const OneThread alone;
    const Slice rows(tokens, me, threads), own(words, me, threads);
    if (rows.count) {
      const float* from = slope + static_cast<int64_t>(rows.first) * words;
      float* to = d_x.data<float>() + static_cast<int64_t>(rows.first) * hidden;
      if (by_rows)
        product(rows.count, hidden, words, from, words, matrix, hidden, to, hidden);
      else
        product_transposed(rows.count, hidden, words, from, words, matrix, words, to, hidden);
    }
    if (!own.count) continue;
    if (by_rows)
      transposed_product(own.count, hidden, tokens, slope + own.first, words, in, hidden,
                         d_weight.data<float>() + static_cast<int64_t>(own.first) * hidden, hidden);
    else
      transposed_product(hidden, own.count, tokens, in, hidden, slope + own.first, words,
                         d_weight.data<float>() + own.first, words);
    float* total = d_bias.data<float>() + own.first;
    std::fill(total, total + own.count, 0.0f);
    for (int64_t i = 0; i < tokens; ++i) {
      const float* row = slope + i * words + own.first;
#pragma omp simd
      for (int j = 0; j < own.count; ++j) total[j] += row[j];
    }
  }
  check_products();
  return {d_x, d_weight, d_bias};
}

using Shape = std::vector<int64_t>;

std::vector<Shape> scores_shapes(const Shape& x, const Shape&, const Shape& bias) { return {{x[0], bias[0]}}; }

std::vector<Shape> scores_backward_shapes(const Shape& x, const Shape& weight, const Shape& d_scores) {
  return {x, weight, {d_scores[1]}};
}

std::vector<paddle::DataType> scores_types(const paddle::DataType& x, const paddle::DataType&,
                                           const paddle::DataType&) {
  return {x};
}

}  // namespace ernie

PD_BUILD_OP(ernie_scores)
    .Inputs({"x", "weight", "bias"})
    .Outputs({"scores"})
    .Attrs({"by_rows: bool"})
    .SetKernelFn(PD_KERNEL(ernie::scores))
    .SetInferShapeFn(PD_INFER_SHAPE(ernie::scores_shapes))
    .SetInferDtypeFn(PD_INFER_DTYPE(ernie::scores_types));

PD_BUILD_GRAD_OP(ernie_scores)
    .Inputs({"x", "weight", paddle::Grad("scores")})
    .Outputs({paddle::Grad("x"), paddle::Grad("weight"), paddle::Grad("bias")})
    .Attrs({"by_rows: bool"})
    .SetKernelFn(PD_KERNEL(ernie::scores_backward))
    .SetInferShapeFn(PD_INFER_SHAPE(ernie::scores_backward_shapes));
