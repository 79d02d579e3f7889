// Elementwise ops: value and derivative of each, once.
//
// V is a scalar or a vector of SIMD lanes in the kernels, and a Tensor where a graph of gradients is built:
// the same line is the loop body and the double backward. `vjp` is the chain rule for one input: dz, the
// gradient of the result z, becomes the gradient of that input. `saves` says, input by input, what its vjp
// reads.
//
// An op of your own needs no entry in the list at the end: elementwise<YourOp>(x) compiles it as a portable
// loop.
#pragma once

#include <cmath>
#include <type_traits>

namespace xtgrad::formulas {

using std::erf;
using std::exp;
using std::log;
using std::log1p;
using std::pow;
using std::sqrt;
using std::tanh;

/// The scalar choice: `a` where the condition holds, else `b`.
template <class T>
requires std::is_arithmetic_v<T>
[[gnu::always_inline]] inline T where(bool condition, T a, T b) { return condition ? a : b; }

/// Whether a scalar taken as a condition holds.
template <class T>
requires std::is_arithmetic_v<T>
[[gnu::always_inline]] inline bool truth(T x) { return x != T(0); }

/// A constant in the precision of V.
template <class V> [[gnu::always_inline]] inline V real(double x) {
  if constexpr (std::is_arithmetic_v<V>)
    return static_cast<V>(x);
  else
    return V(static_cast<typename V::value_type>(x));
}

/// 1 / (1 + e^-x)
template <class V> [[gnu::always_inline]] inline V sigmoid(const V& x) { return V(1) / (V(1) + exp(-x)); }

/// What a vjp reads besides dz: inputs by position, and the result. kConstant: there is no gradient at all.
enum Saves : unsigned { kNothing = 0, kX = 1, kY = 2, kW = 4, kZ = 8, kConstant = 16 };

#define XTGRAD_FORMULA template <class V> [[gnu::always_inline]] static inline V
#define XTGRAD_FORMULAS template <unsigned long I, class V> [[gnu::always_inline]] static inline V

// --- one input ---

struct Neg {
  static constexpr const char* name = "neg";
  static constexpr unsigned saves[] = {kNothing};
  XTGRAD_FORMULA value(const V& x) { return -x; }
  XTGRAD_FORMULA vjp(const V& dz, const V&, const V&) { return -dz; }
};

struct Exp {
  static constexpr const char* name = "exp";
  static constexpr unsigned saves[] = {kZ};
  XTGRAD_FORMULA value(const V& x) { return exp(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V& z, const V&) { return dz * z; }
};

struct Log {
  static constexpr const char* name = "log";
  static constexpr unsigned saves[] = {kX};
  XTGRAD_FORMULA value(const V& x) { return log(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V&, const V& x) { return dz / x; }
};

struct Sqrt {
  static constexpr const char* name = "sqrt";
  static constexpr unsigned saves[] = {kZ};
  XTGRAD_FORMULA value(const V& x) { return sqrt(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V& z, const V&) { return dz / (z + z); }
};

/// max(x, 0); the derivative at 0 is 0, and NaN stays NaN.
struct Relu {
  static constexpr const char* name = "relu";
  static constexpr unsigned saves[] = {kZ};
  XTGRAD_FORMULA value(const V& x) { return where(V(0) > x, V(0), x); }
  XTGRAD_FORMULA vjp(const V& dz, const V& z, const V&) { return where(z > V(0), dz, V(0)); }
};

struct Tanh {
  static constexpr const char* name = "tanh";
  static constexpr unsigned saves[] = {kZ};
  XTGRAD_FORMULA value(const V& x) { return tanh(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V& z, const V&) { return dz * (V(1) - z * z); }
};

/// 1 / (1 + exp(-x)).
struct Sigmoid {
  static constexpr const char* name = "sigmoid";
  static constexpr unsigned saves[] = {kZ};
  XTGRAD_FORMULA value(const V& x) { return sigmoid(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V& z, const V&) { return dz * z * (V(1) - z); }
};

/// |x|; the derivative at 0 is 0.
struct Abs {
  static constexpr const char* name = "abs";
  static constexpr unsigned saves[] = {kX};
  XTGRAD_FORMULA value(const V& x) { return where(x > V(0), x, V(0) - x); }
  XTGRAD_FORMULA vjp(const V& dz, const V&, const V& x) { return where(x > V(0), dz, where(V(0) > x, -dz, V(0))); }
};

/// 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.
struct Erf {
  static constexpr const char* name = "erf";
  static constexpr unsigned saves[] = {kX};
  XTGRAD_FORMULA value(const V& x) { return erf(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V&, const V& x) { return dz * exp(-(x * x)) * real<V>(1.1283791670955126); }
};

/// x Phi(x), Phi the standard normal distribution function (Hendrycks and Gimpel 2016).
struct Gelu {
  static constexpr const char* name = "gelu";
  static constexpr unsigned saves[] = {kX};
  XTGRAD_FORMULA value(const V& x) { return x * cdf(x); }
  XTGRAD_FORMULA vjp(const V& dz, const V&, const V& x) {
    const V density = exp(x * x / V(-2)) * real<V>(0.3989422804014327);
    return dz * (cdf(x) + x * density);
  }

 private:
  XTGRAD_FORMULA cdf(const V& x) { return (V(1) + erf(x * real<V>(0.7071067811865476))) / V(2); }
};

/// log(1 + e^x), without overflow.
struct Softplus {
  static constexpr const char* name = "softplus";
  static constexpr unsigned saves[] = {kX};
  XTGRAD_FORMULA value(const V& x) {
    const V positive = where(V(0) > x, V(0), x);
    return positive + log1p(exp(x - positive - positive));
  }
  XTGRAD_FORMULA vjp(const V& dz, const V&, const V& x) { return dz * sigmoid(x); }
};

// --- two inputs ---

struct Add {
  static constexpr const char* name = "add";
  static constexpr unsigned saves[] = {kNothing, kNothing};
  XTGRAD_FORMULA value(const V& x, const V& y) { return x + y; }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V&, const V&) { return dz; }
};

struct Sub {
  static constexpr const char* name = "sub";
  static constexpr unsigned saves[] = {kNothing, kNothing};
  XTGRAD_FORMULA value(const V& x, const V& y) { return x - y; }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V&, const V&) {
    if constexpr (I == 0) return dz;
    return -dz;
  }
};

struct Mul {
  static constexpr const char* name = "mul";
  static constexpr unsigned saves[] = {kY, kX};
  XTGRAD_FORMULA value(const V& x, const V& y) { return x * y; }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V& x, const V& y) {
    if constexpr (I == 0) return dz * y;
    return dz * x;
  }
};

struct Div {
  static constexpr const char* name = "div";
  static constexpr unsigned saves[] = {kY, kY | kZ};
  XTGRAD_FORMULA value(const V& x, const V& y) { return x / y; }
  XTGRAD_FORMULAS vjp(const V& dz, const V& z, const V&, const V& y) {
    if constexpr (I == 0) return dz / y;
    return -(dz * z) / y;
  }
};

/// x^y; 0^0 = 1. The derivatives with respect to x at y = 0 and to y at x = 0 are 0.
struct Pow {
  static constexpr const char* name = "pow";
  static constexpr unsigned saves[] = {kX | kY, kX | kZ};
  XTGRAD_FORMULA value(const V& x, const V& y) { return pow(x, y); }
  XTGRAD_FORMULAS vjp(const V& dz, const V& z, const V& x, const V& y) {
    if constexpr (I == 0)
      return where(truth(y), dz * y * pow(x, y - V(1)), V(0));
    else
      return where(truth(x), dz * z * log(where(truth(x), x, V(1))), V(0));
  }
};

/// The larger of the two, NaN if one is; equal ones get half of the gradient each.
struct Maximum {
  static constexpr const char* name = "maximum";
  static constexpr unsigned saves[] = {kX | kY, kX | kY};
  XTGRAD_FORMULA value(const V& x, const V& y) { return where(x > y, x, where(x != x, x, y)); }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V& x, const V& y) {
    if constexpr (I == 0)
      return where(x > y, dz, where(y > x, V(0), dz / V(2)));
    else
      return where(y > x, dz, where(x > y, V(0), dz / V(2)));
  }
};

/// The smaller of the two, NaN if one is; equal ones get half of the gradient each.
struct Minimum {
  static constexpr const char* name = "minimum";
  static constexpr unsigned saves[] = {kX | kY, kX | kY};
  XTGRAD_FORMULA value(const V& x, const V& y) { return where(y > x, x, where(x != x, x, y)); }
  XTGRAD_FORMULAS vjp(const V& dz, const V& z, const V& x, const V& y) { return Maximum::vjp<1 - I>(dz, z, x, y); }
};

/// x where it is positive, y x elsewhere; y, the slope, is a constant.
struct LeakyRelu {
  static constexpr const char* name = "leaky_relu";
  static constexpr unsigned saves[] = {kX | kY, kConstant};
  XTGRAD_FORMULA value(const V& x, const V& y) { return where(x > V(0), x, y * x); }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V& x, const V& y) { return where(x > V(0), dz, y * dz); }
};

/// 1 where x > y, 0 elsewhere: a condition, without a gradient.
struct Greater {
  static constexpr const char* name = "greater";
  static constexpr unsigned saves[] = {kConstant, kConstant};
  XTGRAD_FORMULA value(const V& x, const V& y) { return where(x > y, V(1), V(0)); }
};

// --- three inputs ---

/// y where the condition x is not 0, w elsewhere. What is not chosen has no influence, not even as NaN.
struct Where {
  static constexpr const char* name = "where";
  static constexpr unsigned saves[] = {kConstant, kX, kX};
  XTGRAD_FORMULA value(const V& x, const V& y, const V& w) { return where(truth(x), y, w); }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V& x, const V&, const V&) {
    if constexpr (I == 1) return where(truth(x), dz, V(0));
    return where(truth(x), V(0), dz);
  }
};

/// x limited to the constants y and w; the derivative is 1 from bound to bound, both included.
struct Clamp {
  static constexpr const char* name = "clamp";
  static constexpr unsigned saves[] = {kX | kY | kW, kConstant, kConstant};
  XTGRAD_FORMULA value(const V& x, const V& y, const V& w) { return where(y > x, y, where(x > w, w, x)); }
  XTGRAD_FORMULAS vjp(const V& dz, const V&, const V& x, const V& y, const V& w) {
    return where(y > x, V(0), where(x > w, V(0), dz));
  }
};

#undef XTGRAD_FORMULA
#undef XTGRAD_FORMULAS

/// The number of inputs of an op.
template <class Op> inline constexpr unsigned long arity = std::extent_v<decltype(Op::saves)>;

/// The ops that have a kernel for each instruction set.
template <class... Ops> struct List {
  static constexpr int size = sizeof...(Ops);

  /// The position of Op, or -1 if it is not in the list.
  template <class Op> static constexpr int index() {
    int i = 0, found = -1;
    ((std::is_same_v<Op, Ops> ? void(found = i++) : void(++i)), ...);
    return found;
  }
};

using Kernels = List<Neg, Exp, Log, Sqrt, Abs, Erf, Relu, Tanh, Sigmoid, Gelu, Softplus, Add, Sub, Mul, Div, Pow,
                     Maximum, Minimum, LeakyRelu, Greater, Where, Clamp>;

}  // namespace xtgrad::formulas
