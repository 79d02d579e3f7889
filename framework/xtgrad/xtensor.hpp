// The only header of the project that includes xtensor, and the repair that xtensor 0.24 needs.
//
// Up to 0.25, xtensor recognises its dynamic-rank shape by `__cplusplus == 201703L`. In C++20 g++ then takes
// an svector for a fixed-rank shape, and the temporaries of every xarray expression become rank-4 tensors:
// wrong values, or writes past the end. The two specialisations below mend every expression that this header
// precedes; `-fno-new-ttp-matching`, which the CMake target carries for g++, mends the translation units that
// include xtensor alone, whose weak symbols the linker may keep in place of ours.
#pragma once

#if __has_include(<xtensor/containers/xarray.hpp>)
#include <xtensor/containers/xarray.hpp>
#include <xtensor/core/xexpression_traits.hpp>
#include <xtensor/io/xio.hpp>
#else
#include <xtensor/xarray.hpp>
#include <xtensor/xexpression_traits.hpp>
#include <xtensor/xio.hpp>
#endif

#if XTENSOR_VERSION_MAJOR == 0 && XTENSOR_VERSION_MINOR < 26
namespace xt::detail {

template <> struct xtype_for_shape<svector<std::size_t, 4, std::allocator<std::size_t>, true>> {
  template <class T, layout_type L> using type = xarray<T, L>;
};

template <> struct xtype_for_shape<svector<std::ptrdiff_t, 4, std::allocator<std::ptrdiff_t>, true>> {
  template <class T, layout_type L> using type = xarray<T, L>;
};

}  // namespace xt::detail
#endif
