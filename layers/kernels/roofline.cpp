#include "layers/kernels/roofline.h"

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/roofline.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<real>;
using V = hn::Vec<D>;
constexpr D d;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));

// Chains of a round. Two units with a latency of four or five cycles need ten; machines with 16 registers
// hold twelve and the two factors. Variables, not an array: GCC 12 may leave an array of vectors in memory.
constexpr int64_t kChains = 12;

int64_t FmaRoundFlops() { return kChains * 2 * kLanes; }

real FmaRounds(int64_t rounds, real x, real y) {
  const V a = hn::Set(d, x), b = hn::Set(d, y);
  // Each chain starts elsewhere: of equal ones the compiler would keep one.
  V s0 = hn::Iota(d, x), s1 = s0 + a, s2 = s1 + a, s3 = s2 + a, s4 = s3 + a, s5 = s4 + a;
  V s6 = s5 + a, s7 = s6 + a, s8 = s7 + a, s9 = s8 + a, s10 = s9 + a, s11 = s10 + a;
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(a, b, s0);
    s1 = hn::MulAdd(a, b, s1);
    s2 = hn::MulAdd(a, b, s2);
    s3 = hn::MulAdd(a, b, s3);
    s4 = hn::MulAdd(a, b, s4);
    s5 = hn::MulAdd(a, b, s5);
    s6 = hn::MulAdd(a, b, s6);
    s7 = hn::MulAdd(a, b, s7);
    s8 = hn::MulAdd(a, b, s8);
    s9 = hn::MulAdd(a, b, s9);
    s10 = hn::MulAdd(a, b, s10);
    s11 = hn::MulAdd(a, b, s11);
  }
  const V low = s0 + s1 + s2 + s3 + s4 + s5, high = s6 + s7 + s8 + s9 + s10 + s11;
  return hn::GetLane(hn::SumOfLanes(d, low + high));
}

real ReadArray(const real* p, int64_t n, int64_t times) {
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (int64_t t = 0; t < times; ++t) {
    for (int64_t i = 0; i + 8 * kLanes <= n; i += 8 * kLanes) {
      const real* at = p + i;
      s0 += hn::LoadU(d, at);
      s1 += hn::LoadU(d, at + kLanes);
      s2 += hn::LoadU(d, at + 2 * kLanes);
      s3 += hn::LoadU(d, at + 3 * kLanes);
      s4 += hn::LoadU(d, at + 4 * kLanes);
      s5 += hn::LoadU(d, at + 5 * kLanes);
      s6 += hn::LoadU(d, at + 6 * kLanes);
      s7 += hn::LoadU(d, at + 7 * kLanes);
    }
  }
  return hn::GetLane(hn::SumOfLanes(d, (s0 + s1 + s2 + s3) + (s4 + s5 + s6 + s7)));
}

void CopyArray(const real* from, real* to, real offset, int64_t n, int64_t times) {
  const V shift = hn::Set(d, offset);
  for (int64_t t = 0; t < times; ++t)
    for (int64_t i = 0; i + 8 * kLanes <= n; i += 8 * kLanes)
      for (int64_t v = 0; v < 8 * kLanes; v += kLanes)
        hn::StoreU(hn::Add(hn::LoadU(d, from + i + v), shift), d, to + i + v);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(FmaRounds);
HWY_EXPORT(FmaRoundFlops);
HWY_EXPORT(ReadArray);
HWY_EXPORT(CopyArray);

real fma_rounds(int64_t rounds, real x, real y) { return HWY_DYNAMIC_DISPATCH(FmaRounds)(rounds, x, y); }

int64_t fma_round_flops() { return HWY_DYNAMIC_DISPATCH(FmaRoundFlops)(); }

real read_array(const real* p, int64_t n, int64_t times) {
  return HWY_DYNAMIC_DISPATCH(ReadArray)(p, n, times);
}

void copy_array(const real* from, real* to, real offset, int64_t n, int64_t times) {
  HWY_DYNAMIC_DISPATCH(CopyArray)(from, to, offset, n, times);
}

}  // namespace mbs
#endif
