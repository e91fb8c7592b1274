#include "tests/reference/buffer_model.h"

#include <algorithm>

#include "engine/check.h"
#include "engine/program.h"

namespace mbs::reference {

void Residents::touch(Kind kind, TensorId tensor, int64_t elems) {
  const int now = static_cast<int>(recompute_.size()) - 1;
  Life& life = lives_.try_emplace({kind, tensor}, Life{now, now, 0, elems}).first->second;
  life.last = now;
  ++life.touches;
}

bool Residents::streams(Kind kind, const Life& life, Reuse reuse) const {
  if (kind == Kind::stored_value) return reuse != Reuse::hold || life.touches == 1;
  if (kind != Kind::made_value || reuse == Reuse::hold) return false;
  // On its way into the next call that is no recomputation.
  return std::all_of(recompute_.begin() + life.first, recompute_.begin() + life.last,
                     [](bool recompute) { return recompute; });
}

int64_t Residents::peak(Reuse reuse) {
  std::vector<int64_t> change(recompute_.size() + 1, 0);
  for (const auto& [name, life] : lives_) {
    if (streams(name.first, life, reuse)) continue;
    change[static_cast<size_t>(life.first)] += life.elems;
    change[static_cast<size_t>(life.last) + 1] -= life.elems;
  }
  int64_t now = 0, largest = 0;
  for (const int64_t c : change) {
    now += c;
    largest = std::max(largest, now);
  }
  lives_.clear();
  recompute_.clear();
  return largest;
}

BufferModel::BufferModel(const Network& network, const TrafficRules& rules)
    : network_(network), rules_(rules), atoms_(network.tensors().size()) {
  const size_t tensors = atoms_.size();
  for (TensorId t = 0; t < static_cast<int>(tensors); ++t) {
    std::vector<TensorId>& atoms = atoms_[static_cast<size_t>(t)];
    if (!concatenates(t)) {
      atoms = {t};
      continue;
    }
    for (TensorId part : network.node(network.tensor(t).producer).in) {
      const auto& inner = atoms_[static_cast<size_t>(part)];
      atoms.insert(atoms.end(), inner.begin(), inner.end());
    }
  }
  first_reader_.assign(tensors, -1);
  next_.assign(tensors, -1);
  before_.fill(Place(tensors, nullptr));
  here_ = before_;
}

bool BufferModel::concatenates(TensorId t) const {
  const NodeId producer = network_.tensor(t).producer;
  return producer >= 0 && network_.node(producer).layer->concatenates();
}

void BufferModel::on_kernel(const KernelEvent& event) {
  start(event);
  const int chained = follow_branch(event);
  for (int i = 0; i < static_cast<int>(event.operands.size()); ++i) {
    const Operand& o = event.operands[static_cast<size_t>(i)];
    if (o.role != Role::feature && o.role != Role::gradient) {
      move_parameters(event, o);
      continue;
    }
    occupy(event, o);
    if (o.access != Access::write) read(event, i, chained);
    if (o.access != Access::read) write(event, i);
  }
}

void BufferModel::start(const KernelEvent& event) {
  if (event.pass != pass_ || event.chunk != chunk_) end_chunk();
  if (event.pass != pass_) {
    // What the last chunk has written, all chunks have.
    for (size_t side = 0; side < here_.size(); ++side)
      for (size_t t = 0; t < atoms_.size(); ++t)
        if (here_[side][t] != nullptr) before_[side][t] = here_[side][t];
  }
  if (event.pass != pass_ || event.chunk != chunk_) {
    for (Place& place : here_) std::fill(place.begin(), place.end(), nullptr);
    arrived_.clear();
    made_again_.clear();
  }
  pass_ = event.pass;
  chunk_ = event.chunk;
  residents_.step(event.recompute);
  if (event.reuse != Reuse::group && event.reuse != Reuse::hold) return;
  Occupancy& o =
      occupancy_.try_emplace(pass_, Occupancy{pass_, event.phase, event.reuse, false, 0}).first->second;
  o.recomputes = o.recomputes || event.recompute;
}

void BufferModel::end_chunk() {
  const auto pass = occupancy_.find(pass_);
  const int64_t peak = residents_.peak(pass == occupancy_.end() ? Reuse::none : pass->second.reuse);
  if (pass != occupancy_.end()) pass->second.peak_elems = std::max(pass->second.peak_elems, peak);
}

// Which operand of a forward call is handed over by the step before it in the branch: the first that no other
// layer has read. A concatenation has several steps before it, so it follows none, nor does anybody follow
// it. -1: none.
int BufferModel::follow_branch(const KernelEvent& event) {
  if (event.phase != Phase::forward) return -1;
  const Node& node = network_.node(event.node);
  if (node.layer->concatenates()) {
    for (TensorId t : node.in) {
      NodeId& reader = first_reader_[static_cast<size_t>(t)];
      if (reader < 0) reader = event.node;
    }
    return -1;
  }
  int chained = -1;
  for (int i = 0; i < static_cast<int>(event.operands.size()); ++i) {
    const Operand& o = event.operands[static_cast<size_t>(i)];
    if (o.role != Role::feature || o.access != Access::read) continue;
    NodeId& reader = first_reader_[static_cast<size_t>(o.tensor)];
    if (reader < 0) reader = event.node;
    if (chained >= 0 || reader != event.node || concatenates(o.tensor)) continue;
    chained = i;
    next_[static_cast<size_t>(o.tensor)] = event.node;
  }
  return chained;
}

// Whether who wrote a gradient follows its reader in the branch, so that the gradient comes straight back.
// Nodes between them, adds, have passed it on.
bool BufferModel::on_branch(NodeId reader, const Operand& o) const {
  return std::all_of(atoms_[static_cast<size_t>(o.tensor)].begin(),
                     atoms_[static_cast<size_t>(o.tensor)].end(), [&](TensorId atom) {
                       const Version& version = *here_[1][static_cast<size_t>(atom)];
                       NodeId n = reader;
                       while (n >= 0 && n < version.writer)
                         n = next_[static_cast<size_t>(network_.node(n).out)];
                       return n == version.writer && !version.sum_of_one_call;
                     });
}

bool BufferModel::written_here(const Operand& o) const {
  const auto& atoms = atoms_[static_cast<size_t>(o.tensor)];
  return std::all_of(atoms.begin(), atoms.end(),
                     [&](TensorId atom) { return here_[side(o)][static_cast<size_t>(atom)] != nullptr; });
}

// Whether the call finds an operand on chip.
bool BufferModel::on_chip(const KernelEvent& event, int operand, int chained) const {
  const Operand& o = event.operands[static_cast<size_t>(operand)];
  const bool from_forward = o.role == Role::feature && event.phase == Phase::backward;
  switch (event.reuse) {
    case Reuse::none:
      return false;
    case Reuse::chain:
      if (from_forward || o.access != Access::read || !written_here(o)) return false;
      return o.role == Role::feature ? operand == chained : on_branch(event.node, o);
    case Reuse::group:
      return from_forward ? made_again_.contains(o.tensor) : written_here(o) || has_arrived(o);
    case Reuse::hold:
      return from_forward ? made_again_.contains(o.tensor) || has_arrived(o)
                          : written_here(o) || has_arrived(o);
  }
  return false;
}

void BufferModel::read(const KernelEvent& event, int operand, int chained) {
  const Operand& o = event.operands[static_cast<size_t>(operand)];
  const bool chip = on_chip(event, operand, chained);
  const bool backward = event.phase == Phase::backward;
  if (o.role == Role::feature && made_again_.contains(o.tensor)) {
    if (!chip) fail("'{}' reads what was made again in a pass that keeps nothing", event.name);
    return;
  }
  for (TensorId atom : atoms_[static_cast<size_t>(o.tensor)]) {
    Version* version = here_[side(o)][static_cast<size_t>(atom)];
    if (version == nullptr) version = before_[side(o)][static_cast<size_t>(atom)];
    if (version == nullptr && (o.role == Role::gradient || atom != network_.input()))
      fail("'{}' reads tensor {}, which nobody has written", event.name, o.tensor);
    if (version == nullptr) continue;
    version->read = true;
    version->fetched = version->fetched || !chip;
    version->stored = version->stored || (!chip && o.role == Role::feature && backward);
  }
  if (chip) return;
  arrived_.insert({o.role, o.tensor});
  const TrafficClass kind = o.role == Role::gradient ? TrafficClass::feature_gradients
                            : backward               ? TrafficClass::stored_features
                                                     : TrafficClass::features;
  const bool sweeps = event.reuse == Reuse::none && o.access == Access::read;
  const int times = sweeps ? std::min(o.sweeps, rules_.max_sweeps) : 1;
  count(read_bits_, kind, o.elems * times * rules_.feature_bits * event.repeat);
}

void BufferModel::write(const KernelEvent& event, int operand) {
  const Operand& o = event.operands[static_cast<size_t>(operand)];
  if (event.recompute) {
    made_again_.insert(o.tensor);
    return;
  }
  Version& version = versions_[{event.pass, event.node, operand}];
  version.role = o.role;
  version.elems += o.elems * event.repeat;
  version.writer = event.node;
  version.sum_of_one_call =
      std::any_of(event.operands.begin(), event.operands.begin() + operand, [&](const Operand& other) {
        return other.role == o.role && other.tensor == o.tensor && other.access != Access::read;
      });
  for (TensorId atom : atoms_[static_cast<size_t>(o.tensor)])
    here_[side(o)][static_cast<size_t>(atom)] = &version;
}

void BufferModel::occupy(const KernelEvent& event, const Operand& o) {
  using Kind = Residents::Kind;
  Kind kind = o.role == Role::gradient ? Kind::gradient : Kind::value;
  if (o.role == Role::feature && event.phase == Phase::backward)
    kind =
        o.access == Access::write || made_again_.contains(o.tensor) ? Kind::made_value : Kind::stored_value;
  // Values are made again, and stored ones read, as a whole.
  if (kind == Kind::made_value || kind == Kind::stored_value)
    return residents_.touch(kind, o.tensor, o.elems);
  for (TensorId atom : atoms_[static_cast<size_t>(o.tensor)])
    residents_.touch(kind, atom, network_.tensor(atom).shape.elems() * event.samples);
}

void BufferModel::move_parameters(const KernelEvent& event, const Operand& o) {
  TrafficClass kind = TrafficClass::masks;
  int bits = o.role == Role::pool_index ? rules_.pool_index_bits : 1;  // a flag of a ReLU
  if (o.role == Role::weight) {
    kind = TrafficClass::weights;
    bits = rules_.feature_bits;
  } else if (o.role == Role::weight_gradient) {
    kind = TrafficClass::weight_gradients;
    bits = rules_.partial_sum_bits;
  }
  const int64_t moved = o.elems * bits * event.repeat;
  if (o.access != Access::write) count(read_bits_, kind, moved);
  if (o.access != Access::read) count(write_bits_, kind, moved);
}

void BufferModel::count(std::array<int64_t, kTrafficClasses>& bits, TrafficClass kind, int64_t moved) {
  bits[static_cast<size_t>(kind)] += moved;
}

Traffic BufferModel::traffic() const {
  std::array<int64_t, kTrafficClasses> written = write_bits_;
  for (const auto& [place, version] : versions_) {
    if (version.read && !version.fetched) continue;
    TrafficClass kind = version.stored ? TrafficClass::stored_features : TrafficClass::features;
    if (version.role == Role::gradient) kind = TrafficClass::feature_gradients;
    count(written, kind, version.elems * rules_.feature_bits);
  }
  Traffic total;
  for (size_t c = 0; c < kTrafficClasses; ++c) {
    total.read_bytes[c] = (read_bits_[c] + 7) / 8;
    total.write_bytes[c] = (written[c] + 7) / 8;
  }
  return total;
}

std::vector<Occupancy> BufferModel::occupancy() {
  end_chunk();
  std::vector<Occupancy> passes;
  for (const auto& [pass, o] : occupancy_) passes.push_back(o);
  return passes;
}

Traffic replayed_traffic(const Network& network, const Schedule& schedule, const TrafficRules& rules) {
  BufferModel model(network, rules), folded(network, rules);
  dry_run(network, schedule, schedule.batch, model);
  folded_dry_run(network, schedule, schedule.batch, folded);
  if (model.traffic() != folded.traffic()) fail("{}: the folded dry run moves other bytes", network.name());
  return model.traffic();
}

}  // namespace mbs::reference
