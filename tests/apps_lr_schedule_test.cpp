// Learning rates against the formulas of apps/training/lr_schedule.h, and against numbers of PyTorch.
#include <cmath>
#include <numbers>

#include "apps/training/lr_schedule.h"
#include "engine/check.h"
#include "tests/doctest.h"

namespace mbs {
namespace {

bool near(double a, double b) { return std::abs(a - b) < 1e-12 + 1e-9 * std::abs(b); }

TEST_CASE("lr: constant, with a linear warm-up") {
  LrSchedule s{.shape = LrShape::constant, .lr = 0.6, .total_steps = 50, .warmup_steps = 3, .milestones = {}};
  EXPECT(near(lr_at(s, 0), 0.6 * 1 / 3));
  EXPECT(near(lr_at(s, 1), 0.6 * 2 / 3));
  EXPECT(near(lr_at(s, 2), 0.6));
  EXPECT(near(lr_at(s, 49), 0.6));
}

TEST_CASE("lr: steps divide by ten from the milestone on") {
  const LrSchedule s{.shape = LrShape::step, .lr = 0.1, .total_steps = 64000, .milestones = {32000, 48000}};
  EXPECT(near(lr_at(s, 0), 0.1));
  EXPECT(near(lr_at(s, 31999), 0.1));
  EXPECT(near(lr_at(s, 32000), 0.01));
  EXPECT(near(lr_at(s, 47999), 0.01));
  EXPECT(near(lr_at(s, 48000), 0.001));
  EXPECT(near(lr_at(s, 63999), 0.001));
}

TEST_CASE("lr: cosine over what follows the warm-up") {
  const LrSchedule s{
      .shape = LrShape::cosine, .lr = 0.2, .total_steps = 107, .warmup_steps = 7, .milestones = {}};
  EXPECT(near(lr_at(s, 7), 0.2));
  EXPECT(near(lr_at(s, 7 + 50), 0.1));  // cos(pi/2) = 0
  EXPECT(near(lr_at(s, 7 + 25), 0.2 * (1 + std::sqrt(0.5)) / 2));
  EXPECT(near(lr_at(s, 106), 0.2 * (1 + std::cos(std::numbers::pi * 99 / 100)) / 2));

  LrSchedule raised = s;  // as torch.optim.lr_scheduler.CosineAnnealingLR(T_max=100, eta_min=0.04)
  raised.lr_min = 0.04;
  EXPECT(near(lr_at(raised, 7), 0.2));
  EXPECT(near(lr_at(raised, 7 + 50), 0.12));
  EXPECT(near(lr_at(raised, 106), 0.04 + 0.16 * (1 + std::cos(std::numbers::pi * 99 / 100)) / 2));
}

TEST_CASE("lr: one cycle, as torch.optim.lr_scheduler.OneCycleLR(max_lr=0.2, total_steps=100)") {
  const LrSchedule s{.shape = LrShape::onecycle, .lr = 0.2, .total_steps = 100, .milestones = {}};
  EXPECT(near(lr_at(s, 0), 0.2 / 25));
  EXPECT(near(lr_at(s, 29), 0.2));                         // 0.3 * 100 - 1
  EXPECT(near(lr_at(s, 64), (0.2 + 0.2 / 25 / 1e4) / 2));  // halfway down: (29 + 99) / 2
  EXPECT(near(lr_at(s, 99), 0.2 / 25 / 1e4));
  for (int i = 1; i < 100; ++i) EXPECT((lr_at(s, i) > lr_at(s, i - 1)) == (i <= 29));

  LrSchedule raised = s;
  raised.lr_min = 0.04;
  EXPECT(near(lr_at(raised, 0), 0.2 / 25));
  EXPECT(near(lr_at(raised, 29), 0.2));
  EXPECT(near(lr_at(raised, 64), 0.12));
  EXPECT(near(lr_at(raised, 99), 0.04));
}

TEST_CASE("lr: no schedule leaves (0, lr], however short the run") {
  for (const char* name : {"step", "cosine", "onecycle", "constant"})
    for (const int64_t total : {1, 2, 3, 7})
      for (int64_t step = 0; step < total; ++step) {
        CAPTURE(name);
        const LrSchedule s{.shape = parse_word<LrShape>(name),
                           .lr = 0.1,
                           .total_steps = total,
                           .warmup_steps = 1,
                           .milestones = {total / 2}};
        EXPECT(lr_at(s, step) > 0);
        EXPECT(lr_at(s, step) <= 0.1);
      }
}

}  // namespace
}  // namespace mbs
