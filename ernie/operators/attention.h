// Attention of one sentence and one head (Vaswani et al. 2017, section 3.2), forward and backward.
#pragma once
#include <cmath>
#include <vector>

#include "matrix.h"
#include "numbers.h"

namespace ernie {

struct HeadShape {
  int tokens;      // of the sentence
  int size;        // of the head
  int qkv_stride;  // elements between two tokens' queries, keys or values
  int out_stride;  // between two tokens' results
  float scale;     // of the products of queries and keys
};

// The row of random masks for a query: one a token and head.
inline uint64_t mask_row(int64_t token, int heads, int head) {
  return static_cast<uint64_t>(token) * heads + head;
}

// scores[tokens, tokens] are room; norms[i * norm_stride] receives log(sum(exp(scores))) of query i.
inline void attend(const HeadShape& s, const float* q, const float* k, const float* v, float* out, float* norms,
                   int norm_stride, float* scores, const Dropout& dropout, int64_t first_token, int heads, int head) {
  const int n = s.tokens;
  if (n == 0) return;
  product_transposed(n, n, s.size, q, s.qkv_stride, k, s.qkv_stride, scores, n, 0.0f, s.scale);
  for (int i = 0; i < n; ++i) {
    float* row = scores + static_cast<int64_t>(i) * n;
    float most = row[0], total = 0.0f;
#pragma omp simd reduction(max : most)
    for (int j = 0; j < n; ++j) most = row[j] > most ? row[j] : most;
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < n; ++j) {
      row[j] = exp_of(row[j] - most);
      total += row[j];
    }
    const float share = 1.0f / total;
    norms[static_cast<int64_t>(i) * norm_stride] = most + std::log(total);
    if (dropout.on()) {
      const uint32_t key = dropout.key(mask_row(first_token + i, heads, head));
#pragma omp simd
      for (int j = 0; j < n; ++j) row[j] *= share * dropout.factor(key, j);
    } else {
#pragma omp simd
      for (int j = 0; j < n; ++j) row[j] *= share;
    }
  }
  product(n, s.size, n, scores, n, v, s.qkv_stride, out, s.out_stride);
}

// scores, slopes: room for [tokens, tokens] each. d_q, d_k, d_v are laid out as q, k, v.
inline void attend_backward(const HeadShape& s, const float* q, const float* k, const float* v, const float* out,
                            const float* d_out, const float* norms, int norm_stride, float* d_q, float* d_k,
                            float* d_v, float* scores, float* slopes, const Dropout& dropout, int64_t first_token,
                            int heads, int head) {
  const int n = s.tokens;
  if (n == 0) return;
  product_transposed(n, n, s.size, q, s.qkv_stride, k, s.qkv_stride, scores, n, 0.0f, s.scale);
  product_transposed(n, n, s.size, d_out, s.out_stride, v, s.qkv_stride, slopes, n);
  for (int i = 0; i < n; ++i) {
    float* weights = scores + static_cast<int64_t>(i) * n;
    float* slope = slopes + static_cast<int64_t>(i) * n;
    const float* o = out + static_cast<int64_t>(i) * s.out_stride;
    const float* d = d_out + static_cast<int64_t>(i) * s.out_stride;
    float mean = 0.0f;  // sum over the keys of weight times slope, whether weights are dropped or not
#pragma omp simd reduction(+ : mean)
    for (int j = 0; j < s.size; ++j) mean += o[j] * d[j];
    const float norm = norms[static_cast<int64_t>(i) * norm_stride];
    if (dropout.on()) {
      const uint32_t key = dropout.key(mask_row(first_token + i, heads, head));
#pragma omp simd
      for (int j = 0; j < n; ++j) {
        const float weight = exp_of(weights[j] - norm), factor = dropout.factor(key, j);
        slope[j] = weight * (slope[j] * factor - mean);
        weights[j] = weight * factor;
      }
    } else {
#pragma omp simd
      for (int j = 0; j < n; ++j) {
        const float weight = exp_of(weights[j] - norm);
        slope[j] = weight * (slope[j] - mean);
        weights[j] = weight;
      }
    }
  }
  transposed_product(n, s.size, n, scores, n, d_out, s.out_stride, d_v, s.qkv_stride);
  product(n, s.size, n, slopes, n, k, s.qkv_stride, d_q, s.qkv_stride, 0.0f, s.scale);
  transposed_product(n, s.size, n, slopes, n, q, s.qkv_stride, d_k, s.qkv_stride, 0.0f, s.scale);
}

}  // namespace ernie
