// The elementwise ops of formulas::Kernels as SIMD loops.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

// Inputs as registers: an input with step 0 is read from a register's worth of copies of its one element.
template <class T, unsigned long K> struct Streams {
  const T* at[K];
  long step[K];
  alignas(64) typename Lanes<T>::Values repeated[K];

  XTGRAD_INLINE Streams(const T* const* in, const long* steps) {
    for (unsigned long k = 0; k < K; ++k) {
      at[k] = in[k];
      step[k] = steps[k];
      if (step[k] != 0) continue;
      for (long i = 0; i < Lanes<T>::size; ++i) repeated[k][i] = *in[k];
      at[k] = repeated[k];
    }
  }
  XTGRAD_INLINE Lanes<T> load(unsigned long k, long i) const { return Lanes<T>::load(at[k] + i * step[k]); }
  XTGRAD_INLINE Lanes<T> tail(unsigned long k, long i, long r) const {
    return step[k] == 0 ? Lanes<T>::load(at[k]) : load_first(at[k] + i, r);
  }
};

template <class Op, class T, unsigned long... K> struct Loops {
  static void value(long n, const T* const* in, const long* step, T* z) {
    const Streams<T, sizeof...(K)> x(in, step);
    long i = 0;
    for (; i + Lanes<T>::size <= n; i += Lanes<T>::size) Op::template value<Lanes<T>>(x.load(K, i)...).store(z + i);
    if (const long r = n - i; r > 0) store_first(Op::template value<Lanes<T>>(x.tail(K, i, r)...), z + i, r);
  }

  template <unsigned long I>
  static void vjp(long n, const T* dz, const T* z, const T* const* in, const long* step, T* d) {
    const Streams<T, sizeof...(K)> x(in, step);
    long i = 0;
    for (; i + Lanes<T>::size <= n; i += Lanes<T>::size)
      chain<I>(Lanes<T>::load(dz + i), Lanes<T>::load(z + i), x.load(K, i)...).store(d + i);
    if (const long r = n - i; r > 0)
      store_first(chain<I>(load_first(dz + i, r), load_first(z + i, r), x.tail(K, i, r)...), d + i, r);
  }

  static Elementwise<T> entry() {
    Elementwise<T> entry{&value, {}};
    (set<K>(entry), ...);
    return entry;
  }

 private:
  template <unsigned long I, class... X>
  XTGRAD_INLINE static Lanes<T> chain(const Lanes<T>& dz, const Lanes<T>& z, const X&... x) {
    if constexpr (sizeof...(X) == 1)
      return Op::template vjp<Lanes<T>>(dz, z, x...);
    else
      return Op::template vjp<I, Lanes<T>>(dz, z, x...);
  }
  template <unsigned long I> static void set(Elementwise<T>& entry) {
    // Where nothing is saved the formula is used on tensors as it stands: it is a copy or a sign.
    if constexpr (Op::saves[I] != formulas::kNothing && Op::saves[I] != formulas::kConstant) entry.vjp[I] = &vjp<I>;
  }
};

template <class Op, class T> Elementwise<T> entry() {
  if constexpr (formulas::arity<Op> == 1) return Loops<Op, T, 0>::entry();
  if constexpr (formulas::arity<Op> == 2) return Loops<Op, T, 0, 1>::entry();
  if constexpr (formulas::arity<Op> == 3) return Loops<Op, T, 0, 1, 2>::entry();
}

template <class T, class... Ops> void fill(Table<T>& table, formulas::List<Ops...>) {
  int i = 0;
  ((table.elementwise[i++] = entry<Ops, T>()), ...);
}

}  // namespace

template <class T> void fill_elementwise(Table<T>& table) { fill(table, formulas::Kernels{}); }

template void fill_elementwise(Table<float>&);
template void fill_elementwise(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
