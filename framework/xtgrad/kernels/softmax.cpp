// Softmax and cross-entropy over rows, shifted by the row's largest logit so that no exp overflows.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

// Few classes: a register holds the same class of many rows. The loss has the logarithm of a product of rows' sums, of so
// many that it is finite: each is at most C.
constexpr unsigned long kFewClasses = 32;
constexpr long kFactors = 128;

template <class T> double few_classes(long N, long C, const T* logits, const std::int64_t* labels, T* probabilities) {
  using L = Lanes<T>;
  using D = Lanes<double>;
  constexpr long R = L::size;
  alignas(64) T columns[kFewClasses * L::Batch::size];
  D product[L::Batch::size / D::Batch::size];
  for (D& each : product) each = D(1);
  double loss = 0;
  for (long n = 0; n < N; n += R, logits += R * C, probabilities += R * C) {
    const long rows = N - n < R ? N - n : R;
    const T* row[L::Batch::size];
    for (long i = 0; i < R; ++i) row[i] = logits + (i < rows ? i : 0) * C;
    for (long c = 0; c < C; ++c)
      for (long i = 0; i < R; ++i) columns[c * R + i] = row[i][c];
    L largest = L::load(columns);
    for (long c = 1; c < C; ++c) {
      const L x = L::load(columns + c * R);
      largest = where((x > largest) | (x != x), x, largest);
    }
    for (long c = 0; c < C; ++c) exp(L::load(columns + c * R) - largest).store(columns + c * R);
    for (long h = 0; h < R; h += D::size) {
      D sum(0);
      for (long c = 0; c < C; ++c) sum = sum + load_double(columns + c * R + h);
      const D scale = D(1) / sum;
      for (long c = 0; c < C; ++c) store_double(load_double(columns + c * R + h) * scale, columns + c * R + h);
      D& factors = product[h / D::size];
      factors = factors * where(first<double>(rows - h), sum, D(1));
      if (n / R % kFactors != kFactors - 1 && n + R < N) continue;
      loss += xsimd::hadd(log(factors).v);
      factors = D(1);
    }
    typename L::Values shift;
    largest.store(shift);
    for (long i = 0; i < rows; ++i) loss -= static_cast<double>(row[i][labels[n + i]]) - static_cast<double>(shift[i]);
    for (long c = 0; c < C; ++c)
      for (long i = 0; i < rows; ++i) probabilities[i * C + c] = columns[c * R + i];
  }
  return loss;
}

template <class T>
double softmax_cross_entropy(long N, long C, const T* logits, const std::int64_t* labels, T* probabilities) {
  if (C <= static_cast<long>(kFewClasses)) return few_classes(N, C, logits, labels, probabilities);
  using L = Lanes<T>;
  double loss = 0;
  for (long n = 0; n < N; ++n, logits += C, probabilities += C) {
    T largest = logits[0];
    for (long c = 1; c < C; ++c) largest = logits[c] > largest || logits[c] != logits[c] ? logits[c] : largest;
    const L shift{typename L::Batch(largest)};
    long c = 0;
    for (; c + L::size <= C; c += L::size) exp(L::load(logits + c) - shift).store(probabilities + c);
    if (const long r = C - c; r > 0) store_first(exp(load_first(logits + c, r, largest) - shift), probabilities + c, r);

    double sum = 0;
    for (c = 0; c < C; ++c) sum += static_cast<double>(probabilities[c]);
    const double scale = 1 / sum;
    for (c = 0; c < C; ++c) probabilities[c] = static_cast<T>(static_cast<double>(probabilities[c]) * scale);
    loss += std::log(sum) - (static_cast<double>(logits[labels[n]]) - static_cast<double>(largest));
  }
  return loss;
}

template <class T>
void softmax_cross_entropy_vjp(long N, long C, const T* probabilities, const std::int64_t* labels, T scale, T* d) {
  for (long i = 0; i < N * C; ++i) d[i] = scale * probabilities[i];
  for (long n = 0, row = 0; n < N; ++n, row += C) d[row + labels[n]] = scale * (probabilities[row + labels[n]] - T(1));
}

}  // namespace

template <class T> void fill_softmax(Table<T>& table) {
  table.softmax_cross_entropy = softmax_cross_entropy<T>;
  table.softmax_cross_entropy_vjp = softmax_cross_entropy_vjp<T>;
}

template void fill_softmax(Table<float>&);
template void fill_softmax(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
