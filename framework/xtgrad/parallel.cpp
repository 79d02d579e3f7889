#include "xtgrad/parallel.hpp"

#include <atomic>

#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

std::atomic<int> threads{1};

}  // namespace

int num_threads() noexcept { return threads.load(std::memory_order_relaxed); }

void set_num_threads(int count) {
  check(count > 0, "set_num_threads: {} is not a positive number", count);
  threads.store(count, std::memory_order_relaxed);
}

void detail::parallel_for(long n, long block, void (*call)(void* body, long first, long last), void* body) {
  const long blocks = (n + block - 1) / block;
#pragma omp parallel for schedule(static) num_threads(num_threads())
  for (long i = 0; i < blocks; ++i) call(body, i * block, std::min(n, (i + 1) * block));
}

}  // namespace xtgrad
