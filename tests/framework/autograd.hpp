// What the tests of autograd share.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <vector>

#include "support.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/record.hpp"

namespace xtgrad::test {

using Double = Tensor<double>;
using Values = std::vector<double>;

inline Double scalar(double x) { return variable(Double(x)); }
inline Double vector(std::initializer_list<double> x) { return variable(Double(x)); }

struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// x + 1, whose backward throws where it is told to.
inline Double faulty(const Double& x, bool broken) {
  return record("faulty", Array<double>(add(x.detach(), Double(1)).value()), {&x}, [broken](Backward<double>& b) {
    if (broken) throw Broken("broken");
    b.add(0, b.dz());
  });
}

}  // namespace xtgrad::test
