#include "xtgrad/optim/optimizers.hpp"

#include <cmath>

#include "xtgrad/check.hpp"
#include "xtgrad/kernels/table.hpp"

namespace xtgrad {
namespace {

void check_option(const char* who, const char* name, double value, double limit = INFINITY) {
  check(value >= 0 && value < limit, "{}: {} is {}, expected a number from 0 up to {}", who, name, value, limit);
}

template <class T>
std::vector<Array<T>> zeros_like(const std::vector<Tensor<T>>& tensors) {
  std::vector<Array<T>> zeros;
  for (const Tensor<T>& t : tensors) zeros.push_back(full_array<T>(t.shape(), T(0)));
  return zeros;
}

}  // namespace

template <class T>
Optimizer<T>::Optimizer(std::vector<Tensor<T>> parameters, double lr) : parameters_(std::move(parameters)), lr_(lr) {
  check_option("optimizer", "lr", lr);
  check(!parameters_.empty(), "optimizer: the list of parameters is empty");
  for (const Tensor<T>& p : parameters_)
    if (!p.requires_grad()) fail("optimizer: a parameter of shape {} does not require grad", p.shape());
}

template <class T>
void Optimizer<T>::zero_grad() {
  for (Tensor<T>& p : parameters_) p.zero_grad();
}

template <class T>
void Optimizer<T>::set_lr(double lr) {
  check_option("set_lr", "lr", lr);
  lr_ = lr;
}

template <class T>
SGD<T>::SGD(std::vector<Tensor<T>> parameters, SGDOptions options)
    : Optimizer<T>(std::move(parameters), options.lr), options_(options) {
  check_option("SGD", "momentum", options.momentum);
  check_option("SGD", "weight_decay", options.weight_decay);
  if (options.momentum != 0) velocity_ = zeros_like(this->parameters_);
}

template <class T>
void SGD<T>::step() {
  for (std::size_t i = 0; i < this->parameters_.size(); ++i) {
    Tensor<T>& w = this->parameters_[i];
    if (!w.grad().defined()) continue;
    kernels::table<T>().sgd(static_cast<long>(w.size()), w.mutable_value().data(), w.grad().data(),
                            velocity_.empty() ? nullptr : velocity_[i].data(), this->lr(), options_.momentum,
                            options_.weight_decay);
  }
}

template <class T>
Adam<T>::Adam(std::vector<Tensor<T>> parameters, AdamOptions options)
    : Optimizer<T>(std::move(parameters), options.lr),
      options_(options),
      first_(zeros_like(this->parameters_)),
      second_(zeros_like(this->parameters_)),
      steps_(this->parameters_.size(), 0) {
  check_option("Adam", "beta1", options.beta1, 1);
  check_option("Adam", "beta2", options.beta2, 1);
  check_option("Adam", "eps", options.eps);
  check_option("Adam", "weight_decay", options.weight_decay);
}

template <class T>
void Adam<T>::step() {
  for (std::size_t i = 0; i < this->parameters_.size(); ++i) {
    Tensor<T>& w = this->parameters_[i];
    if (!w.grad().defined()) continue;
    const double t = static_cast<double>(++steps_[i]);
    const kernels::AdamStep step{.lr = this->lr(),
                                 .beta1 = options_.beta1,
                                 .beta2 = options_.beta2,
                                 .eps = options_.eps,
                                 .weight_decay = options_.weight_decay,
                                 .correction1 = 1 - std::pow(options_.beta1, t),
                                 .correction2 = 1 - std::pow(options_.beta2, t)};
    kernels::table<T>().adam(static_cast<long>(w.size()), w.mutable_value().data(), w.grad().data(), first_[i].data(),
                             second_[i].data(), step);
  }
}

template class Optimizer<float>;
template class Optimizer<double>;
template class SGD<float>;
template class SGD<double>;
template class Adam<float>;
template class Adam<double>;

}  // namespace xtgrad
