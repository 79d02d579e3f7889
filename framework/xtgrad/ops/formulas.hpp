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

using std::exp;
using std::log;
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

/// What a vjp reads besides dz: inputs by position, and the result. kConstant: there is no gradient at all.
enum Saves : unsigned { kNothing = 0, kX = 1, kY = 2, kW = 4, kZ = 8, kConstant = 16 };

#define XTGRAD_FORMULA \
  template <class V>   \
  [[gnu::always_inline]] static inline V
#define XTGRAD_FORMULAS               \
  template <unsigned long I, class V> \
  [[gnu::always_inline]] static inline V

// --- one input
// ------------------------------------------------------------------------------------------------

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
  XTGRAD_FORMULA value(const V& x) { return V(1) / (V(1) + exp(-x)); }
  XTGRAD_FORMULA vjp(const V& dz, const V& z, const V&) { return dz * z * (V(1) - z); }
};

// --- two inputs
// -----------------------------------------------------------------------------------------------

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

/// 1 where x > y, 0 elsewhere: a condition, without a gradient.
struct Greater {
  static constexpr const char* name = "greater";
  static constexpr unsigned saves[] = {kConstant, kConstant};
  XTGRAD_FORMULA value(const V& x, const V& y) { return where(x > y, V(1), V(0)); }
};

// --- three inputs
// ---------------------------------------------------------------------------------------------

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

#undef XTGRAD_FORMULA
#undef XTGRAD_FORMULAS

/// The number of inputs of an op.
template <class Op>
inline constexpr unsigned long arity = std::extent_v<decltype(Op::saves)>;

/// The ops that have a kernel for each instruction set.
template <class... Ops>
struct List {
  static constexpr int size = sizeof...(Ops);

  /// The position of Op, or -1 if it is not in the list.
  template <class Op>
  static constexpr int index() {
    int i = 0, found = -1;
    ((std::is_same_v<Op, Ops> ? void(found = i++) : void(++i)), ...);
    return found;
  }
};

using Kernels = List<Neg, Exp, Log, Sqrt, Relu, Tanh, Sigmoid, Add, Sub, Mul, Div, Greater, Where>;

}  // namespace xtgrad::formulas
