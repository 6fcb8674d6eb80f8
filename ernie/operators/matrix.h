// Matrix products by the library that Paddle's wheel brings (MKL's small build, with its C interface).
#pragma once
#include <algorithm>
#include <cstdint>

extern "C" void cblas_sgemm(int layout, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                            const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);

namespace ernie {

constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;

// c[m, n] = alpha a[m, k] b[k, n] + beta c; ld*: elements from one row to the next.
inline void product(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
                    float beta = 0.0f, float alpha = 1.0f) {
  cblas_sgemm(kRowMajor, kPlain, kPlain, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// c[m, n] = alpha a[m, k] b[n, k]^T + beta c
inline void product_transposed(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c,
                               int ldc, float beta = 0.0f, float alpha = 1.0f) {
  cblas_sgemm(kRowMajor, kPlain, kTransposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// c[m, n] = alpha a[k, m]^T b[k, n] + beta c; of no rows, k = 0, the sum is 0.
inline void transposed_product(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c,
                               int ldc, float beta = 0.0f, float alpha = 1.0f) {
  if (k == 0 && beta == 0.0f) {
    for (int64_t i = 0; i < m; ++i) std::fill(c + i * ldc, c + i * ldc + n, 0.0f);
    return;
  }
  cblas_sgemm(kRowMajor, kTransposed, kPlain, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace ernie
