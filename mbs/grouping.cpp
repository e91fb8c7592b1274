#include "mbs/grouping.h"

#include <algorithm>
#include <limits>
#include <map>
#include <span>

#include "mbs/group_costs.h"

namespace mbs {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max() / 4;

// The kind of a group that goes on: its treatment and its number of iterations.
using Kind = std::pair<Treatment, int>;

// The best way to the end of a block in a group that goes on.
struct Open {
  int64_t bits = kNever;
  int segment = 0;         // the first block of its last segment
  bool continues = false;  // the group has begun before that
};

// The best way to the end of a block at which a group ends.
struct Closed {
  int64_t bits = kNever;
  GroupChoice group{0, Treatment::layerwise};
  int iterations =
      0;  // of a group of segments, which is to be looked up among the open ones; 0: `group` is all of it
};

// Costs of groups add up, so the best grouping of the first blocks is the best last group after the best
// grouping of those before it. A group in a joining treatment consists of segments: at a segment's first
// block the value that crosses is stored, inside everything that can be is made again. Segments of one group
// share its number of iterations, so that is part of the state: the best way to the start of a block is known
// for every number of iterations of a group that goes on there, and for a group that ends there.
class Search {
 public:
  /// Of equals, the first of `whole` is taken. `joining` may be empty; otherwise Treatment::group must be in
  /// `whole`, and groups begin where values can be made again only.
  Search(const Network& network, const PlanOptions& options, const GroupSizes& sizes,
         std::span<const Treatment> whole, const std::vector<Treatment>& joining)
      : network_(network),
        sizes_(sizes),
        whole_(whole),
        recomputes_(!joining.empty()),
        blocks_(static_cast<int>(network.blocks().size())) {
    for (const Treatment t : whole) costs_.emplace(t, GroupCosts(network, options, t));
    for (const Treatment t : joining) costs_.emplace(t, GroupCosts(network, options, t));
    const size_t ends = static_cast<size_t>(blocks_) + 1;
    closed_.resize(ends);
    closed_[0].bits = 0;
    for (int n = recomputes_ ? options.batch : 0;
         n >= 1;) {  // every number of iterations that some sub-batch has
      const int iterations = (options.batch - 1) / n + 1;
      for (const Treatment t : joining) open_[{t, iterations}].resize(ends);
      n = n == 1 ? 0 : (options.batch - 1) / iterations;
    }
  }

  std::vector<GroupChoice> run() {
    for (int first = 0; first < blocks_; ++first) {
      if (recomputes_ &&
          !can_begin_recomputing(network_, network_.blocks()[static_cast<size_t>(first)].first))
        continue;
      whole_groups(first);
      for (auto& [kind, ways] : open_) segments(first, kind, ways);
    }
    std::vector<GroupChoice> groups;
    for (int end = blocks_; end > 0; end = groups.front().first_block)
      groups.insert(groups.begin(), group_ending(end));
    return groups;
  }

 private:
  // Groups without segments that begin at a block.
  void whole_groups(int first) {
    const int64_t before = closed_[static_cast<size_t>(first)].bits;
    for (int last = first; last < blocks_; ++last) {
      Closed& here = closed_[static_cast<size_t>(last) + 1];
      for (const Treatment t : whole_) {
        if (!sizes_.fits(t, first, last)) continue;
        const int64_t bits = before + costs_.at(t).bits(first, last, sizes_.iterations(t, first, last));
        if (bits < here.bits) here = {bits, {first, t}, 0};
      }
    }
  }

  // Segments that begin at a block, of a group that begins there or goes on.
  void segments(int first, const Kind& kind, std::vector<Open>& ways) {
    const auto [treatment, iterations] = kind;
    const int64_t going_on = ways[static_cast<size_t>(first)].bits - saved(first);
    const int64_t beginning = closed_[static_cast<size_t>(first)].bits;
    for (int last = first; last < blocks_; ++last) {
      if (!sizes_.fits(treatment, first, last) || sizes_.iterations(treatment, first, last) > iterations)
        continue;
      const int64_t bits = std::min(going_on, beginning) + costs_.at(treatment).bits(first, last, iterations);
      Open& way = ways[static_cast<size_t>(last) + 1];
      if (bits < way.bits) way = {bits, first, going_on < beginning};
      Closed& here = closed_[static_cast<size_t>(last) + 1];
      if (bits < here.bits) here = {bits, {first, treatment}, iterations};
    }
  }

  // What a group saves that does not end before block b: the same in every treatment that keeps the chunk.
  int64_t saved(int b) const {
    const GroupCosts& plain = costs_.at(Treatment::group);
    return b == 0 ? 0
                  : plain.bits(0, b - 1, 1) + plain.bits(b, blocks_ - 1, 1) - plain.bits(0, blocks_ - 1, 1);
  }

  GroupChoice group_ending(int end) const {
    const Closed& closed = closed_[static_cast<size_t>(end)];
    GroupChoice group = closed.group;
    if (closed.iterations == 0) return group;
    const std::vector<Open>& ways = open_.at({group.treatment, closed.iterations});
    const Open* way = &ways[static_cast<size_t>(end)];
    for (; way->continues; way = &ways[static_cast<size_t>(way->segment)])
      group.kept.insert(group.kept.begin(), way->segment);
    group.first_block = way->segment;
    return group;
  }

  const Network& network_;
  const GroupSizes& sizes_;
  const std::span<const Treatment> whole_;
  const bool recomputes_;
  const int blocks_;
  std::map<Treatment, GroupCosts> costs_;
  std::vector<Closed> closed_;              // by end: the blocks before it are done
  std::map<Kind, std::vector<Open>> open_;  // [kind][end]
};

}  // namespace

// Merges two neighbouring groups as long as that lowers the predicted traffic, the best merge first (of
// equals, the one nearest to the input).
std::vector<GroupChoice> greedy_groups(const Network& network, const PlanOptions& options,
                                       const GroupSizes& sizes, std::vector<GroupChoice> groups) {
  const int blocks = static_cast<int>(network.blocks().size());
  const Treatment serialized = natural_treatment(options.order);
  const GroupCosts costs(network, options, serialized);
  const auto cost = [&](int first, int last) {
    return costs.bits(first, last, sizes.iterations(serialized, first, last));
  };
  const auto end_of = [&](size_t g) { return g + 1 < groups.size() ? groups[g + 1].first_block : blocks; };
  while (true) {
    int64_t best = 0;
    size_t merged = 0;
    for (size_t g = 1; g < groups.size(); ++g) {
      if (groups[g - 1].treatment != serialized || groups[g].treatment != serialized) continue;
      const int first = groups[g - 1].first_block, middle = groups[g].first_block, last = end_of(g) - 1;
      const int64_t change = cost(first, last) - cost(first, middle - 1) - cost(middle, last);
      if (change >= best) continue;
      best = change;
      merged = g;
    }
    if (merged == 0) return groups;
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(merged));
  }
}

std::vector<GroupChoice> optimal_groups(const Network& network, const PlanOptions& options,
                                        const GroupSizes& sizes) {
  // An order may do what a lesser one does; of equals, the treatment that keeps most is taken.
  constexpr std::array kTreatments = {Treatment::group, Treatment::chain, Treatment::layerwise};
  const auto lesser = std::span(kTreatments).subspan(options.order == Order::mbs1 ? 1 : 0);
  return Search(network, options, sizes, lesser, {}).run();
}

std::vector<GroupChoice> recomputing_groups(const Network& network, const PlanOptions& options,
                                            const GroupSizes& sizes) {
  constexpr std::array kWhole = {Treatment::hold_branches, Treatment::stream_branches, Treatment::group,
                                 Treatment::chain, Treatment::layerwise};
  return Search(network, options, sizes, kWhole, joining_treatments(options.recompute)).run();
}

}  // namespace mbs
