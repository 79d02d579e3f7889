// Softmax and cross-entropy over rows, shifted by the row's largest logit so that no exp overflows.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

template <class T>
double softmax_cross_entropy(long N, long C, const T* logits, const std::int64_t* labels, T* probabilities) {
  using L = Lanes<T>;
  double loss = 0;
  for (long n = 0; n < N; ++n, logits += C, probabilities += C) {
    T largest = logits[0];
    for (long c = 1; c < C; ++c) largest = logits[c] > largest || logits[c] != logits[c] ? logits[c] : largest;
    const L shift{typename L::Batch(largest)};
    long c = 0;
    for (; c + L::size <= C; c += L::size) exp(L::load(logits + c) - shift).store(probabilities + c);
    if (const long r = C - c; r > 0)
      Tail<T>::store(exp(Tail<T>::load(logits + c, r, largest) - shift), probabilities + c, r);

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
  for (long n = 0; n < N; ++n, probabilities += C, d += C) {
    for (long c = 0; c < C; ++c) d[c] = scale * probabilities[c];
    d[labels[n]] = scale * (probabilities[labels[n]] - T(1));
  }
}

}  // namespace

template <class T> void fill_softmax(Table<T>& table) {
  table.softmax_cross_entropy = softmax_cross_entropy<T>;
  table.softmax_cross_entropy_vjp = softmax_cross_entropy_vjp<T>;
}

template void fill_softmax(Table<float>&);
template void fill_softmax(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
