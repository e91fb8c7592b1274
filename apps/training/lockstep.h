// The same training in several orders: one worker process each, in step with each other.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "apps/options/options.h"
#include "apps/report/progress.h"
#include "engine/event.h"

namespace mbs {

/// One epoch of one order.
struct EpochResult {
  double train_loss = 0, train_accuracy = 0, validation_loss = 0, validation_accuracy = 0;
};

/// What one order came to.
struct OrderResult {
  std::string order;             ///< "baseline", ...; "baseline-bn" for the curve with batch norm
  bool in_verdict = true;        ///< its weights must agree with the others
  int64_t buffer_bytes = 0;      ///< that its plan was made for
  std::string buffer_note = {};  ///< how that was chosen; empty if it was given
  double seconds_per_step = 0;   ///< median
  double images_per_second = 0;
  int64_t peak_rss_bytes = 0;                        ///< of its process, data set included
  Traffic dram;                                      ///< of the last step, counted from its kernel calls
  double modelled_seconds = 0, modelled_joules = 0;  ///< of the last step, on the modelled machine
  std::vector<double> losses;                        ///< mean over the batch, by step
  std::vector<EpochResult> epochs;
  std::string weights_hash;  ///< FNV-1a of the weights after the last step
};

struct Comparison {
  std::vector<OrderResult> runs;
  int64_t steps = 0;
  int64_t first_different_step = -1;  ///< counted from 1; -1: the weights agreed after every step
  std::string different_order;

  bool identical() const { return first_different_step < 0; }
};

/// Index of the first of `weights` that is not the same bytes as weights[0]; -1: all are the same.
int first_different(std::span<const std::span<const std::byte>> weights);

/// Trains. Must be called before any thread was started: it forks. Workers take turns step by step; who
/// begins rotates. Error: what a worker failed with, or that it died.
Comparison compare_orders(const CompareOptions& options, Display& display);

/// One line per order: time, memory, DRAM bytes, validation accuracy, hash of the weights.
std::string order_table(const Comparison& comparison);
/// How the buffers were chosen, a line for each way, orders first; "" where all were given.
std::string buffer_notes(const Comparison& comparison);
/// Whether the weights agreed, in words.
std::string verdict(const Comparison& comparison);

}  // namespace mbs
