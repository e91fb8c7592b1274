#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/parallel.h"
#include "engine/random.h"

namespace mbs {
namespace {

bool is_norm_or_bias(ParamKind kind) {
  return kind == ParamKind::bias || kind == ParamKind::norm_scale || kind == ParamKind::norm_shift;
}

}  // namespace

Sgd::Sgd(const Network& network, const SgdOptions& options, int threads)
    : network_(network),
      options_(options),
      threads_(threads),
      velocity_(static_cast<size_t>(network.param_array_elems())) {}

void Sgd::step(std::span<real> params, std::span<const real> gradients, double lr) {
  const auto rate = static_cast<real>(lr), momentum = static_cast<real>(options_.momentum);
  parallel_ranges(static_cast<int64_t>(params.size()), threads_, [&](int64_t begin, int64_t end) {
    for (const ParamInfo& p : network_.params()) {
      const bool decays = options_.decay_norm_and_bias || !is_norm_or_bias(p.spec.kind);
      const auto decay = static_cast<real>(decays ? options_.weight_decay : 0);
      const auto first = static_cast<size_t>(std::max(begin, p.offset));
      const auto last = static_cast<size_t>(std::max(begin, std::min(end, p.offset + p.elems)));
      for (size_t i = first; i < last; ++i) {
        const real g = gradients[i] + decay * params[i];
        const real v = momentum * velocity_[i] + g;
        velocity_[i] = v;
        params[i] -= rate * (options_.nesterov ? g + momentum * v : v);
      }
    }
  });
}

void move_average(std::span<real> average, std::span<const real> params, double decay, int threads) {
  const auto share = static_cast<real>(1 - decay);
  parallel_ranges(static_cast<int64_t>(params.size()), threads, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      average[i] += share * (params[i] - average[i]);
  });
}

double average_decay(double decay, int64_t step) {
  return std::min(decay, static_cast<double>(1 + step) / static_cast<double>(10 + step));
}

std::vector<real> initial_params(const Network& network, uint64_t seed) {
  std::vector<real> values(static_cast<size_t>(network.param_array_elems()));
  for (size_t p = 0; p < network.params().size(); ++p) {
    const ParamInfo& info = network.params()[p];
    const Random random(seed, Stream::init, 0, p);
    const double deviation = std::sqrt(2.0 / static_cast<double>(info.spec.fan));
    for (int64_t i = 0; i < info.elems; ++i) {
      real& value = values[static_cast<size_t>(info.offset + i)];
      switch (info.spec.init) {
        case Init::zero:
          value = 0;
          break;
        case Init::one:
          value = 1;
          break;
        case Init::he_normal:
          value = static_cast<real>(deviation * random.normal(static_cast<uint64_t>(i)));
          break;
      }
    }
  }
  return values;
}

std::vector<real> initial_states(const Network& network) {
  std::vector<real> values(static_cast<size_t>(network.state_array_elems()));
  for (const StateInfo& s : network.states()) {
    for (int64_t i = 0; i < s.spec.elems; ++i) values[static_cast<size_t>(s.offset + i)] = s.spec.initial;
  }
  return values;
}

}  // namespace mbs
