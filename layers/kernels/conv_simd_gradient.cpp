// The inner loops of the weight gradient (conv_simd.h).
#include <algorithm>
#include <array>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/conv_simd_gradient.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/conv_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// Fetches what is read later; past the end of an array this does nothing.
HWY_INLINE void fetch_to_second_level(const real* p) { __builtin_prefetch(p, 0, 2); }

template <int kVectors, int... I>
HWY_INLINE void gradient_block(Pack<I...>, const GradientPixels& x, int64_t first, real* dw,
                               int64_t dw_step) {
  constexpr int64_t kElems = sizeof...(I);
  Sums<kVectors> sums[] = {load<kVectors>(dw + I * dw_step)...};
  for (int64_t i = kElems; i < 2 * kElems; ++i) {  // the next block's
    __builtin_prefetch(dw + i * dw_step, 1, 3);
    if constexpr (kVectors == 2) __builtin_prefetch(dw + i * dw_step + kLanes, 1, 3);
  }
  const real* dy = x.dy;
  for (int64_t p = 0; p < x.count; ++p, dy += x.dy_step) {
    const real* a = x.patches[p] + first;
    if constexpr (kVectors == 2) fetch_to_second_level(a + x.ahead);  // one vector: no load to spare
    const Sums<kVectors> g = load<kVectors>(dy);
    (add_product(sums[I], a[I], g), ...);
  }
  (store(sums[I], dw + I * dw_step), ...);
}

template <int kVectors, int kElems>
void gradient_block(const GradientPixels& x, int64_t first, real* dw, int64_t dw_step) {
  gradient_block<kVectors>(Count<kElems>(), x, first, dw, dw_step);
}

using GradientBlock = void (*)(const GradientPixels&, int64_t, real*, int64_t);

// Entry i is the block of i + 1 elements of a patch.
template <int kVectors, int... I>
constexpr std::array<GradientBlock, sizeof...(I)> gradient_blocks(Pack<I...>) {
  return {gradient_block<kVectors, I + 1>...};
}

int64_t fewest_pieces(int64_t n, int64_t most) { return (n + most - 1) / most; }

// Cuts [0, n) into the fewest pieces of at most `most`, as equal as can be, and calls body(begin, size)
// for each. One division in all: one for every piece would take as long as packing it does.
template <class Body>
HWY_INLINE void balanced_pieces(int64_t n, int64_t most, const Body& body) {
  const int64_t pieces = fewest_pieces(n, most), least = n / pieces, larger = n % pieces;
  for (int64_t i = 0, begin = 0; i < pieces; ++i) {
    const int64_t size = least + (i < larger ? 1 : 0);
    body(begin, size);
    begin += size;
  }
}

// Elements of the largest block, and how far the pieces of packed patches lie apart.
template <int kVectors>
constexpr int kMostElems = std::min(kAccumulators / kVectors, 24);
constexpr int64_t kPackedStep = (kMostElems<2> + kLanes - 1) / kLanes * kLanes;

template <int kVectors>
void gradient_vectors(const Patch& patch, const GradientPixels& x, real* dw, int64_t dw_step) {
  static constexpr auto kBlocks = gradient_blocks<kVectors>(Count<kMostElems<kVectors>>());
  int64_t packed = 0;
  for (int r = 0; r < patch.runs; ++r)
    balanced_pieces(patch.run_elems, kMostElems<kVectors>, [&](int64_t k, int64_t size) {
      const int64_t first = x.packed ? packed : r * patch.run_step + k;
      kBlocks[static_cast<size_t>(size - 1)](x, first, dw + (r * patch.run_elems + k) * dw_step, dw_step);
      packed += x.count * kPackedStep;
    });
}

int64_t PackedPatchElems(int64_t elems) { return fewest_pieces(elems, kMostElems<2>) * kPackedStep; }

// Piece by piece; in each the pixels, kPackedStep apart. Some pixels at a time, so few that their cache lines
// are still there for the next piece.
void PackPatches(int64_t elems, int64_t first, int64_t count, const real* const* patches, real* to,
                 const real** packed) {
  constexpr int64_t kPixels = 16;
  for (int64_t p = 0; p < count; ++p) packed[p] = to + p * kPackedStep;
  for (int64_t begin = 0; begin < count; begin += kPixels) {
    const int64_t end = std::min(begin + kPixels, count);
    real* piece = to;
    balanced_pieces(elems, kMostElems<2>, [&](int64_t k, int64_t size) {
      const bool whole = k + kPackedStep <= elems;  // whole vectors, more than is needed
      for (int64_t p = begin; p < end; ++p) {
        const real* from = patches[p] + first + k;
        real* at = piece + p * kPackedStep;
        if (whole)
          for (int64_t i = 0; i < kPackedStep; i += kLanes) hn::StoreU(hn::LoadU(d, from + i), d, at + i);
        else
          std::copy_n(from, size, at);
      }
      piece += count * kPackedStep;
    });
  }
}

void CorrelateGradient(const Patch& patch, const GradientPixels& pixels, int vectors, real* dw,
                       int64_t dw_step) {
  if (vectors == 1) gradient_vectors<1>(patch, pixels, dw, dw_step);
  if (vectors == 2) gradient_vectors<2>(patch, pixels, dw, dw_step);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(CorrelateGradient);
HWY_EXPORT(PackPatches);
HWY_EXPORT(PackedPatchElems);

void correlate_gradient(const Patch& patch, const GradientPixels& pixels, int vectors, real* dw,
                        int64_t dw_step) {
  HWY_DYNAMIC_DISPATCH(CorrelateGradient)(patch, pixels, vectors, dw, dw_step);
}

void pack_patches(int64_t elems, int64_t first, int64_t count, const real* const* patches, real* to,
                  const real** packed) {
  HWY_DYNAMIC_DISPATCH(PackPatches)(elems, first, count, patches, to, packed);
}

int64_t packed_patch_elems(int64_t elems) { return HWY_DYNAMIC_DISPATCH(PackedPatchElems)(elems); }

}  // namespace mbs
#endif
