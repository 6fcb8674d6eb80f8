// Matrix products by oneDNN, which Paddle's wheel brings. It writes its kernels for the processor it finds, of any maker;
// MKL's small build, in the wheel too, has none with AVX-512 for an AMD one.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>

extern "C" int dnnl_sgemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

namespace ernie {

inline std::atomic<bool>& product_refused() {
  static std::atomic<bool> refused{false};
  return refused;
}

inline void multiply(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                     int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  if (dnnl_sgemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)) product_refused() = true;
}

// To be called where no thread multiplies: an exception must not leave a thread of OpenMP's.
inline void check_products() {
  if (product_refused().exchange(false)) throw std::runtime_error("oneDNN has refused a matrix product: out of memory?");
}

// c[m, n] = alpha a[m, k] b[k, n] + beta c; ld*: elements from one row to the next.
inline void product(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc,
                    float beta = 0.0f, float alpha = 1.0f) {
  multiply('N', 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// c[m, n] = alpha a[m, k] b[n, k]^T + beta c
inline void product_transposed(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c,
                               int ldc, float beta = 0.0f, float alpha = 1.0f) {
  multiply('N', 'T', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// c[m, n] = alpha a[k, m]^T b[k, n] + beta c; of no rows, k = 0, the sum is 0.
inline void transposed_product(int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c,
                               int ldc, float beta = 0.0f, float alpha = 1.0f) {
  if (k == 0 && beta == 0.0f) {
    for (int64_t i = 0; i < m; ++i) std::fill(c + i * ldc, c + i * ldc + n, 0.0f);
    return;
  }
  multiply('T', 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// The part of `n` columns that is the work of one of `threads`: first column and how many, by sixteens.
struct Slice {
  Slice(int n, int thread, int threads) {
    const int each = ((n + threads - 1) / threads + 15) / 16 * 16;
    first = std::min(n, each * thread);
    count = std::min(n - first, each);
  }
  int first, count;
};

// One thread's columns of c[m, n] = a[k, m]^T b[k, n].
inline void transposed_product_slice(int thread, int threads, int m, int n, int k, const float* a, int lda,
                                     const float* b, int ldb, float* c, int ldc) {
  const Slice columns(n, thread, threads);
  if (columns.count) transposed_product(m, columns.count, k, a, lda, b + columns.first, ldb, c + columns.first, ldc);
}

}  // namespace ernie
