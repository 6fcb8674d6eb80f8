// Layer norm behind dropout and a residual, row by row, forward and backward.
#pragma once
#include <cmath>

#include "numbers.h"

namespace ernie {

// normed = (residual + dropout(x + bias)) brought to mean 0 and deviation 1; y = normed * scale + shift.
// Returns 1 / deviation. x is overwritten. normed and y may be one array only if normed is not needed afterwards.
inline float normalise_row(int n, float* x, const float* bias, const float* residual, const float* scale,
                           const float* shift, float epsilon, const Dropout& dropout, uint64_t row, float* normed,
                           float* y) {
  float total = 0.0f, square = 0.0f;
  if (dropout.on()) {
    const uint32_t key = dropout.key(row);
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < n; ++j) {
      x[j] = residual[j] + (x[j] + bias[j]) * dropout.factor(key, j);
      total += x[j];
    }
  } else {
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < n; ++j) {
      x[j] = residual[j] + x[j] + bias[j];
      total += x[j];
    }
  }
  const float mean = total / n;
#pragma omp simd reduction(+ : square)
  for (int j = 0; j < n; ++j) square += (x[j] - mean) * (x[j] - mean);
  const float inverse = 1.0f / std::sqrt(square / n + epsilon);
#pragma omp simd
  for (int j = 0; j < n; ++j) {
    const float value = (x[j] - mean) * inverse;
    normed[j] = value;
    y[j] = value * scale[j] + shift[j];
  }
  return inverse;
}

// d_sum: the gradient of residual + dropout(x + bias); d_x: that of x. d_scale, d_shift, d_bias are added to.
inline void normalise_row_backward(int n, const float* d_y, const float* normed, float inverse, const float* scale,
                                   const Dropout& dropout, uint64_t row, float* d_sum, float* d_x, float* d_scale,
                                   float* d_shift, float* d_bias) {
  float mean = 0.0f, along = 0.0f;
#pragma omp simd reduction(+ : mean, along)
  for (int j = 0; j < n; ++j) {
    const float d = d_y[j] * scale[j];
    mean += d;
    along += d * normed[j];
    d_scale[j] += d_y[j] * normed[j];
    d_shift[j] += d_y[j];
  }
  mean /= n;
  along /= n;
  if (dropout.on()) {
    const uint32_t key = dropout.key(row);
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      const float d = inverse * (d_y[j] * scale[j] - mean - normed[j] * along);
      const float dropped = d * dropout.factor(key, j);
      d_sum[j] = d;
      d_x[j] = dropped;
      d_bias[j] += dropped;
    }
  } else {
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      const float d = inverse * (d_y[j] * scale[j] - mean - normed[j] * along);
      d_sum[j] = d;
      d_x[j] = d;
      d_bias[j] += d;
    }
  }
}

}  // namespace ernie
