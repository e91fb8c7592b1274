#include "wavecore/accountant.h"

#include <algorithm>

namespace mbs {
namespace {

constexpr int kFlagBits = 1;  // a ReLU mask has one flag per element

}  // namespace

// Whether the hand-over that the operand's local and chained describe stays on chip.
bool Accountant::kept(const Operand& o) const {
  switch (reuse_) {
    case Reuse::none:
      return false;
    case Reuse::chain:
      return o.local && o.chained;
    case Reuse::group:
    case Reuse::hold:
      return o.local;
  }
  return false;
}

// Whether what was made or read in a chunk stays to its end.
bool Accountant::keeps_chunk() const { return reuse_ == Reuse::group || reuse_ == Reuse::hold; }

// Whether this chunk has read the data before, and still has it.
bool Accountant::arrives_again(const Operand& o) {
  return keeps_chunk() && !arrived_.insert({o.role, o.tensor}).second;
}

void Accountant::on_kernel(const KernelEvent& event) {
  if (event.pass != pass_ || event.chunk != chunk_) arrived_.clear();
  pass_ = event.pass;
  chunk_ = event.chunk;
  reuse_ = event.reuse;
  repeat_ = event.repeat;
  for (const Operand& o : event.operands) {
    if (o.access != Access::write) count_read(event.phase, o);
    if (o.access != Access::read) count_write(event.phase, o);
  }
}

void Accountant::count_read(Phase phase, const Operand& o) {
  const bool sum = o.access == Access::accumulate;
  const int64_t elems =
      reuse_ == Reuse::none && !sum ? o.elems * std::min(o.sweeps, rules_.max_sweeps) : o.elems;
  switch (o.role) {
    case Role::none:
      break;
    case Role::feature:
      if (phase == Phase::backward && o.stored) {
        if (reuse_ != Reuse::hold || !arrives_again(o))
          read(TrafficClass::stored_features, elems, rules_.feature_bits);
      } else if (!kept(o) && !arrives_again(o))
        read(TrafficClass::features, elems, rules_.feature_bits);
      break;
    case Role::gradient: {
      // A partial sum has waited while other steps ran: only a machine that keeps the whole chunk has it.
      const bool on_chip = sum ? keeps_chunk() && o.sum_local : kept(o);
      if (!on_chip && !arrives_again(o)) read(TrafficClass::feature_gradients, elems, rules_.feature_bits);
      break;
    }
    case Role::weight:
      read(TrafficClass::weights, o.elems, rules_.feature_bits);
      break;
    case Role::weight_gradient:
      read(TrafficClass::weight_gradients, o.elems, rules_.partial_sum_bits);
      break;
    case Role::relu_mask:
      read(TrafficClass::masks, o.elems, kFlagBits);
      break;
    case Role::pool_index:
      read(TrafficClass::masks, o.elems, rules_.pool_index_bits);
      break;
  }
}

void Accountant::count_write(Phase phase, const Operand& o) {
  switch (o.role) {
    case Role::none:
    case Role::weight:
      break;  // the optimizer's business
    case Role::feature:
      if (phase == Phase::forward && o.stored)
        write(TrafficClass::stored_features, o.elems, rules_.feature_bits);
      else if (!kept(o))
        write(TrafficClass::features, o.elems, rules_.feature_bits);
      break;
    case Role::gradient:
      if (!kept(o)) write(TrafficClass::feature_gradients, o.elems, rules_.feature_bits);
      break;
    case Role::weight_gradient:
      write(TrafficClass::weight_gradients, o.elems, rules_.partial_sum_bits);
      break;
    case Role::relu_mask:
      write(TrafficClass::masks, o.elems, kFlagBits);
      break;
    case Role::pool_index:
      write(TrafficClass::masks, o.elems, rules_.pool_index_bits);
      break;
  }
}

void Accountant::read(TrafficClass c, int64_t elems, int bits) {
  read_bits_[static_cast<size_t>(c)] += elems * bits * repeat_;
}

void Accountant::write(TrafficClass c, int64_t elems, int bits) {
  write_bits_[static_cast<size_t>(c)] += elems * bits * repeat_;
}

Traffic Accountant::traffic() const {
  Traffic total;
  for (size_t c = 0; c < kTrafficClasses; ++c) {
    total.read_bytes[c] = (read_bits_[c] + 7) / 8;
    total.write_bytes[c] = (write_bits_[c] + 7) / 8;
  }
  return total;
}

void Accountant::reset() {
  read_bits_ = {};
  write_bits_ = {};
  pass_ = chunk_ = -1;
  arrived_.clear();
}

}  // namespace mbs
