// How products are kept on the thread that asks for them.
#pragma once
#include <omp.h>

namespace ernie {

// While one lives, products of this thread are made by this thread alone. oneDNN would else ask for as many as OpenMP may
// give, and leaves out a part of the result where it gets fewer.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const int before_;
};

}  // namespace ernie
