#include "mbs/order.h"

#include <array>

namespace mbs {
namespace {

constexpr std::array<const char*, 9> kTreatmentNames = {
    "layerwise",      "chain",         "group",      "stream-branches",
    "stream-joins",   "hold-branches", "hold-joins", "stream-expansions",
    "hold-expansions"};

}  // namespace

const char* treatment_name(Treatment treatment) { return kTreatmentNames[static_cast<size_t>(treatment)]; }

std::vector<std::string> treatment_names() { return {kTreatmentNames.begin(), kTreatmentNames.end()}; }

}  // namespace mbs
