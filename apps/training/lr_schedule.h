// The learning rate of every step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/words.h"

namespace mbs {

/// How the learning rate falls over a run.
enum class LrShape : uint8_t { step, cosine, onecycle, constant };
constexpr auto words_of(LrShape) {
  return EnumWords{"learning rate schedule", "step", "cosine", "onecycle", "constant"};
}

/// The learning rates of a run. With t = steps after the warm-up / steps that follow it:
/// constant lr; step lr * 0.1^(milestones passed); cosine lr_min + (lr - lr_min) * (1 + cos(pi t)) / 2
/// (Loshchilov and Hutter 2017); onecycle: by half cosines from lr/25 up to lr at 30 % of all steps, then
/// down to lr_min, or to lr/250,000 where that is 0 (as OneCycleLR of PyTorch; Smith and Topin 2018). The
/// warm-up is linear: step s of w has lr * (s + 1) / w; onecycle has none.
struct LrSchedule {
  LrShape shape = LrShape::cosine;
  double lr = 0.1, lr_min = 0;  ///< highest and, for cosine and onecycle, last; lr_min <= lr
  int64_t total_steps = 1;
  int64_t warmup_steps = 0;
  std::vector<int64_t> milestones;  ///< in steps, ascending
};

/// The learning rate of step `step`, 0 <= step < total_steps.
double lr_at(const LrSchedule& schedule, int64_t step);

}  // namespace mbs
