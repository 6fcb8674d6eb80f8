// Runs attention, layer norm, activation and dropout of ernie/operators over arrays of exactly the size that they need,
// with a matrix product written out, and compares attention with its definition in double precision. Built with the
// compiler's sanitizers by tests/ernie/test_operators.py.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "attention.h"
#include "normalise.h"
#include "numbers.h"

extern "C" int dnnl_sgemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double total = 0.0;
      for (int64_t p = 0; p < k; ++p) {
        const float left = transpose_a == 'T' ? a[p * lda + i] : a[i * lda + p];
        const float right = transpose_b == 'T' ? b[j * ldb + p] : b[p * ldb + j];
        total += static_cast<double>(left) * right;
      }
      float* to = c + i * ldc + j;
      *to = static_cast<float>(alpha * total + (beta == 0.0f ? 0.0 : beta * *to));
    }
  return 0;
}

static void check(bool good, const char* what) {
  if (!good) {
    std::fprintf(stderr, "%s is wrong\n", what);
    std::exit(1);
  }
}

// The slices of the threads cover all columns, each once, and no slice begins outside.
static void slices_of(int n, int threads) {
  int next = 0;
  for (int thread = 0; thread < threads; ++thread) {
    const ernie::Slice slice(n, thread, threads);
    check(slice.first == next && slice.count >= 0, "a slice");
    next += slice.count;
  }
  check(next == n, "the last slice");
}

static std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(std::rand()) / RAND_MAX * 2.0f - 1.0f;
  return values;
}

static void attention_of(int tokens, int heads, int size, float rate) {
  const int hidden = heads * size;
  const ernie::HeadShape shape{tokens, size, 3 * hidden, hidden, 1.0f / std::sqrt(static_cast<float>(size))};
  const std::vector<float> qkv = numbers(static_cast<size_t>(tokens) * 3 * hidden);
  const std::vector<float> slope = numbers(static_cast<size_t>(tokens) * hidden);
  std::vector<float> out(slope.size()), norms(static_cast<size_t>(tokens) * heads), d_qkv(qkv.size());
  std::vector<float> scores(static_cast<size_t>(tokens) * tokens), slopes(scores.size());
  const ernie::Dropout dropout(rate, 7, 1);
  for (int head = 0; head < heads; ++head) {
    const float* q = qkv.data() + head * size;
    float* d = d_qkv.data() + head * size;
    ernie::attend(shape, q, q + hidden, q + 2 * hidden, out.data() + head * size, norms.data() + head, heads,
                  scores.data(), dropout, 0, heads, head);
    ernie::attend_backward(shape, q, q + hidden, q + 2 * hidden, out.data() + head * size, slope.data() + head * size,
                           norms.data() + head, heads, d, d + hidden, d + 2 * hidden, scores.data(), slopes.data(),
                           dropout, 0, heads, head);
    for (int i = 0; i < tokens && rate == 0.0f; ++i) {
      std::vector<double> weights(tokens);
      double total = 0.0;
      for (int j = 0; j < tokens; ++j) {
        double product = 0.0;
        for (int p = 0; p < size; ++p)
          product += static_cast<double>(q[i * 3 * hidden + p]) * q[j * 3 * hidden + hidden + p];
        total += weights[j] = std::exp(product * shape.scale);
      }
      for (int p = 0; p < size; ++p) {
        double value = 0.0;
        for (int j = 0; j < tokens; ++j) value += weights[j] / total * q[j * 3 * hidden + 2 * hidden + p];
        check(std::fabs(value - out[i * hidden + head * size + p]) < 1e-5, "attention");
      }
    }
  }
}

int main() {
  for (int tokens : {1, 2, 7, 16, 33}) {
    attention_of(tokens, 2, 5, 0.0f);
    attention_of(tokens, 3, 8, 0.25f);
  }
  for (int n : {1, 16, 48, 100, 768})
    for (int threads : {1, 2, 3, 16, 64}) slices_of(n, threads);
  for (double x = -40.0; x < 40.0; x += 0.013) {
    const float value = static_cast<float>(x);
    check(std::fabs(ernie::exp_of(value) - std::exp(static_cast<double>(value))) <=
              3e-7 * std::exp(static_cast<double>(value)),
          "exp");
    float bell, below;
    ernie::normal(value, &bell, &below);
    check(std::fabs(below - 0.5 * std::erfc(-static_cast<double>(value) / std::sqrt(2.0))) < 2e-7, "erf");
  }
  for (int n : {1, 5, 8, 19}) {
    std::vector<float> x = numbers(n), bias = numbers(n), residual = numbers(n), scale = numbers(n), shift = numbers(n);
    std::vector<float> unit(n), y(n), d_sum(n), d_x(n), d_scale(n), d_shift(n), d_bias(n), active(n), slope = numbers(n);
    for (float rate : {0.0f, 0.5f}) {
      const ernie::Dropout dropout(rate, 3, 2);
      const float inverse = ernie::normalise_row(n, x.data(), bias.data(), residual.data(), scale.data(), shift.data(),
                                                 1e-5f, dropout, 4, unit.data(), y.data());
      ernie::normalise_row_backward(n, slope.data(), unit.data(), inverse, scale.data(), dropout, 4, d_sum.data(),
                                    d_x.data(), d_scale.data(), d_shift.data(), d_bias.data());
    }
    for (ernie::Activation kind : {ernie::kGelu, ernie::kRelu}) {
      ernie::activate(n, kind, bias.data(), x.data(), active.data());
      ernie::activate_backward(n, kind, x.data(), active.data(), slope.data(), d_bias.data());
    }
  }
  std::puts("good numbers");
  return 0;
}
