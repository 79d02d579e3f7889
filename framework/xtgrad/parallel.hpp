// Threads inside kernels: one OpenMP pool, fixed partitions.
#pragma once

#include <algorithm>

namespace xtgrad {

/// How many threads kernels may use; 1 unless set.
int num_threads() noexcept;
/// Sets how many threads kernels may use. Throws if `count` is not positive.
void set_num_threads(int count);

namespace detail {
void parallel_for(long n, long block, void (*call)(void* body, long first, long last), void* body);
}

/// Calls body(first, last) for the blocks [0, block), [block, 2 block), ... of [0, n), on num_threads()
/// threads. The blocks do not depend on the number of threads; the body must not throw and its calls must be
/// independent.
template <class Body> void parallel_for(long n, long block, const Body& body) {
  if (n <= block || num_threads() == 1) {
    for (long first = 0; first < n; first += block) body(first, std::min(n, first + block));
    return;
  }
  const auto call = [](void* at, long first, long last) { (*static_cast<const Body*>(at))(first, last); };
  detail::parallel_for(n, block, call, const_cast<Body*>(&body));
}

}  // namespace xtgrad
