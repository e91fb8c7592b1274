#include "apps/training/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mbs {
namespace {

/// From `a` at t = 0 to `b` at t = 1 along half a cosine.
double anneal(double a, double b, double t) { return b + (a - b) * (1 + std::cos(std::numbers::pi * t)) / 2; }

double one_cycle(const LrSchedule& s, int64_t step) {
  const double last = static_cast<double>(std::max<int64_t>(s.total_steps - 1, 1));
  const double peak = std::max(0.3 * static_cast<double>(s.total_steps) - 1, 1e-9),
               at = static_cast<double>(step);
  if (at <= peak) return anneal(s.lr / 25, s.lr, at / peak);
  return anneal(s.lr, s.lr_min > 0 ? s.lr_min : s.lr / 25 / 1e4, (at - peak) / std::max(last - peak, 1e-9));
}

}  // namespace

double lr_at(const LrSchedule& s, int64_t step) {
  if (s.shape == LrShape::onecycle) return one_cycle(s, step);
  if (step < s.warmup_steps)
    return s.lr * static_cast<double>(step + 1) / static_cast<double>(s.warmup_steps);
  if (s.shape == LrShape::step) {
    const auto passed =
        std::upper_bound(s.milestones.begin(), s.milestones.end(), step) - s.milestones.begin();
    return s.lr * std::pow(0.1, static_cast<double>(passed));
  }
  if (s.shape == LrShape::cosine) {
    const auto rest = std::max<int64_t>(s.total_steps - s.warmup_steps, 1);
    return anneal(s.lr, s.lr_min, static_cast<double>(step - s.warmup_steps) / static_cast<double>(rest));
  }
  return s.lr;
}

}  // namespace mbs
