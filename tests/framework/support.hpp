// What tests of tensors share.
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

/// The text of the E that f throws, or "no error".
template <class E = std::invalid_argument, class F> std::string error(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

/// Expects every part somewhere in the text.
inline void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

template <class T> std::vector<T> values(const Array<T>& a) { return {a.storage().begin(), a.storage().end()}; }
template <class T> std::vector<T> values(const Tensor<T>& t) { return values(t.value()); }

/// A leaf that requires grad.
template <class T> Tensor<T> variable(Tensor<T> t) {
  t.requires_grad(true);
  return t;
}

}  // namespace xtgrad::test
