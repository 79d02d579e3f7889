// Threads inside kernels: one OpenMP pool, fixed partitions.
#pragma once

#include <functional>

namespace xtgrad {

/// How many threads kernels may use; 1 unless set.
int num_threads() noexcept;
/// Sets how many threads kernels may use. Throws if `count` is not positive.
void set_num_threads(int count);

/// Calls body(first, last) for the blocks [0, block), [block, 2 block), ... of [0, n), on num_threads()
/// threads. The blocks do not depend on the number of threads; the body must not throw and its calls must be
/// independent.
void parallel_for(long n, long block, const std::function<void(long first, long last)>& body);

}  // namespace xtgrad
