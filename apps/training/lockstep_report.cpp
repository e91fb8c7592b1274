// A comparison of orders in words, as `mbs compare` and `mbs demo` print it.
#include <fmt/format.h>

#include <algorithm>

#include "apps/report/number_text.h"
#include "apps/training/lockstep.h"

namespace mbs {

std::string order_table(const Comparison& comparison) {
  Table table{{"order", "s/step", "images/s", "peak memory", "DRAM bytes/step", "val_acc", "weights"}, {}};
  for (const OrderResult& run : comparison.runs)
    table.rows.push_back(
        {run.order, fmt::format("{:.4f}", run.seconds_per_step), fmt::format("{:.0f}", run.images_per_second),
         binary_bytes(run.peak_rss_bytes), decimal_bytes(run.dram.total_bytes()),
         run.epochs.empty() ? "-" : percent(run.epochs.back().validation_accuracy), run.weights_hash});
  return to_text(table);
}

std::string buffer_notes(const Comparison& comparison) {
  std::vector<std::pair<std::string, std::vector<std::string>>> ways;
  for (const OrderResult& run : comparison.runs) {
    if (run.buffer_note.empty() || run.order.starts_with("baseline")) continue;
    const auto known =
        std::find_if(ways.begin(), ways.end(), [&](const auto& way) { return way.first == run.buffer_note; });
    if (known == ways.end())
      ways.push_back({run.buffer_note, {run.order}});
    else
      known->second.push_back(run.order);
  }
  std::string text;
  for (const auto& [note, orders] : ways) text += fmt::format("{}: {}\n", joined(orders, ", "), note);
  return text;
}

std::string verdict(const Comparison& comparison) {
  if (!comparison.identical())
    return fmt::format("DIFFERENT: the weights of {} are not those of {} after step {}",
                       comparison.different_order, comparison.runs[0].order, comparison.first_different_step);
  std::vector<std::string> orders;
  for (const OrderResult& run : comparison.runs)
    if (run.in_verdict) orders.push_back(run.order);
  return fmt::format("identical: after each of {} steps the weights of {} were the same, bit for bit",
                     comparison.steps, joined(orders, ", "));
}

}  // namespace mbs
