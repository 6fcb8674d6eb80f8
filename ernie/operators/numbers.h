// What the operators compute element by element: exp, erf, random masks. All loops over them vectorise.
#pragma once
#include <cstdint>
#include <cstring>

namespace ernie {

inline float bits_to_float(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// exp(x) to 1.2e-7: x = n ln 2 + r, |r| <= ln 2 / 2, exp(r) by its series to r^7, 2^n put into the exponent's bits.
inline float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float n = (x * 1.44269504f + shift) - shift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * bits_to_float((static_cast<int32_t>(n) + 127) << 23);
}

// The normal distribution: its density's exp(-x^2 / 2), and P(X < x) to 1e-7 of itself where x < 0.
// erfc(z) = exp(-z^2) t p(t), t = 1 / (1 + 0.3 z); p, of degree 8, was fitted for z from 0 to 9.5, to 2.4e-8 of itself.
inline void normal(float x, float* bell, float* below) {
  const float z = (x < 0.0f ? -x : x) * 0.70710678f;
  const float t = 1.0f / (1.0f + 0.3f * z);
  float p = -0.1306501485f;
  p = p * t + 0.4911991786f;
  p = p * t - 0.5243023375f;
  p = p * t + 0.5619909921f;
  p = p * t - 0.1049368374f;
  p = p * t + 0.219528202f;
  p = p * t + 0.1470930338f;
  p = p * t + 0.1709016802f;
  p = p * t + 0.1691762127f;
  *bell = exp_of(-z * z);
  const float half = 0.5f * p * t * *bell;
  *below = x < 0.0f ? half : 1.0f - half;
}

enum Activation { kGelu = 0, kRelu = 1 };

// row += bias; to = activation(row)
inline void activate(int n, Activation kind, const float* bias, float* row, float* to) {
  if (kind == kRelu) {
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      row[j] += bias[j];
      to[j] = row[j] > 0.0f ? row[j] : 0.0f;
    }
  } else {
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      float bell, below;
      row[j] += bias[j];
      normal(row[j], &bell, &below);
      to[j] = row[j] * below;
    }
  }
}

// to = activation(row) again; slope, the gradient of it, becomes that of row, and is added to total.
inline void activate_backward(int n, Activation kind, const float* row, float* to, float* slope, float* total) {
  if (kind == kRelu) {
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      to[j] = row[j] > 0.0f ? row[j] : 0.0f;
      slope[j] = row[j] > 0.0f ? slope[j] : 0.0f;
      total[j] += slope[j];
    }
  } else {
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      float bell, below;
      normal(row[j], &bell, &below);
      to[j] = row[j] * below;
      slope[j] *= below + row[j] * 0.39894228f * bell;  // the density: bell / sqrt(2 pi)
      total[j] += slope[j];
    }
  }
}

// Random masks are a function of (seed, place, row, column) and of nothing else: the backward pass draws them again,
// and neither the number of threads nor the order of work changes them.
inline uint32_t mixed(uint32_t x) {  // a bijection whose output bits each depend on all input bits
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

inline uint32_t row_key(uint32_t seed, uint32_t place, uint64_t row) {
  const uint32_t low = static_cast<uint32_t>(row), high = static_cast<uint32_t>(row >> 32);
  return mixed(mixed(mixed(seed + 0x9e3779b9u) ^ place) + low * 0x85ebca6bu + high);
}

class Dropout {
 public:
  // probability: of an element to be 0; the others are divided by 1 - probability.
  Dropout(float probability, uint32_t seed, uint32_t place)
      : on_(probability > 0.0f),
        least_(static_cast<uint32_t>(static_cast<double>(probability) * 4294967296.0)),
        scale_(1.0f / (1.0f - probability)),
        seed_(seed),
        place_(place) {}

  bool on() const { return on_; }
  uint32_t key(uint64_t row) const { return row_key(seed_, place_, row); }
  float factor(uint32_t key, uint32_t column) const {
    return mixed(key ^ (column * 0x9e3779b9u)) >= least_ ? scale_ : 0.0f;
  }

 private:
  bool on_;
  uint32_t least_;
  float scale_;
  uint32_t seed_, place_;
};

}  // namespace ernie
