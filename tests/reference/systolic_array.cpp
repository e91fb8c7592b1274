#include "tests/reference/systolic_array.h"

#include <algorithm>

#include "engine/check.h"

namespace mbs::reference {
namespace {

// A matrix, or its transpose, that is zero beyond its edges.
struct Matrix {
  const std::vector<int64_t>& values;
  int64_t height, width;
  bool transposed = false;

  int64_t at(int64_t i, int64_t j) const {
    if (transposed) std::swap(i, j);
    return i < height && j < width ? values[static_cast<size_t>(i * width + j)] : 0;
  }
  int64_t rows() const { return transposed ? width : height; }
  int64_t cols() const { return transposed ? height : width; }
};

// Where a fold lies in the product, and which vectors it streams.
struct Fold {
  int64_t row, col, first, length;
};

std::vector<Fold> list_folds(int64_t rows, int64_t cols, int64_t streamed, int64_t tile,
                             const ArrayShape& array) {
  std::vector<Fold> folds;
  for (int64_t first = 0; first < streamed; first += tile)
    for (int64_t col = 0; col < cols; col += array.cols)
      for (int64_t row = 0; row < rows; row += array.rows)
        folds.push_back({row, col, first, std::min(tile, streamed - first)});
  return folds;
}

// What a sequencer issues in one cycle; a fold of -1: nothing.
struct Slot {
  int stream_fold = -1;
  int64_t index = 0;                 // of the vector within the fold
  bool first = false, last = false;  // of the fold
  int bus_fold = -1;
  int64_t bus_row = 0;  // the row of the array that an operand on the bus is for, or a result comes from
};

// Decides cycle by cycle what goes to the array. `rows` words on the bus serve one fold.
class Sequencer {
 public:
  Sequencer(const std::vector<Fold>& folds, int64_t rows, bool outputs_held, CycleModel model, bool hurry)
      : folds_(folds), rows_(rows), outputs_held_(outputs_held), model_(model), haste_(hurry ? 1 : 0) {}

  /// The next slot. `empty`: nothing is on its way in the array.
  Slot next(bool empty) {
    Slot slot;
    if (model_ == CycleModel::double_buffer)
      outputs_held_ ? stream_and_fetch(slot) : load_and_stream(slot);
    else if (position_ > 0 || model_ == CycleModel::drain || empty)
      one_register(slot);
    return slot;
  }

 private:
  int64_t length() const { return folds_[static_cast<size_t>(fold_)].length; }
  bool done() const { return fold_ == static_cast<int>(folds_.size()); }

  void stream(Slot& slot) {
    slot.stream_fold = fold_;
    slot.index = streamed_;
    slot.first = streamed_ == 0;
    slot.last = ++streamed_ == length();
  }
  void bus(Slot& slot) {
    slot.bus_fold = static_cast<int>(on_bus_ / rows_);
    slot.bus_row = on_bus_++ % rows_;
  }
  void next_fold() {
    ++fold_;
    streamed_ = position_ = 0;
  }

  // A fold is its rows on the bus and its stream, one after the other.
  void one_register(Slot& slot) {
    if (done()) return;
    const int64_t first_phase = outputs_held_ ? length() : rows_;
    const bool in_first = position_ < first_phase, in_second = position_ >= first_phase - haste_;
    if (outputs_held_ ? in_first : in_second) stream(slot);
    if (outputs_held_ ? in_second : in_first) bus(slot);
    if (++position_ == rows_ + length() - haste_) next_fold();
  }

  // The register for the next operand is free as soon as the fold before has begun to use its own.
  void load_and_stream(Slot& slot) {
    const bool loaded = !done() && on_bus_ >= (fold_ + 1) * rows_ - haste_;
    int64_t begun = fold_ + (streamed_ > 0 ? 1 : 0);
    if (!done() && (streamed_ > 0 || loaded)) {
      stream(slot);
      begun = fold_ + 1;
      if (slot.last) next_fold();
    }
    const int64_t loading = on_bus_ / rows_;
    if (loading < static_cast<int64_t>(folds_.size()) && loading <= begun) bus(slot);
  }

  // A finished result moves to the second register, which the fold before must have left.
  void stream_and_fetch(Slot& slot) {
    const bool finishes = !done() && streamed_ + 1 == length();
    const int64_t finished = fold_ * rows_;
    if (on_bus_ < finished || (haste_ > 0 && finishes && on_bus_ == finished)) bus(slot);
    if (done() || (finishes && on_bus_ < finished)) return;
    stream(slot);
    if (slot.last) next_fold();
  }

  const std::vector<Fold>& folds_;
  int64_t rows_;
  bool outputs_held_;
  CycleModel model_;
  int64_t haste_;
  int fold_ = 0;  // that streams
  int64_t streamed_ = 0, position_ = 0;
  int64_t on_bus_ = 0;  // rows of all folds
};

// One word on its way down the bus of a column.
struct Word {
  int fold = -1;
  int64_t row = 0, value = 0;
};

struct Unit {
  int slot = -1;                 // whose vector passes by
  int64_t across = 0, down = 0;  // its elements; where an operand is held, `down` is the partial sum
  Word word;
  int64_t held = 0, second = 0;  // an operand and the next one, or a sum and the last one
};

class Array {
 public:
  /// X streams across; Y is held, or streams down.
  Array(const Matrix& x, const Matrix& y, const std::vector<Fold>& folds, const ArrayShape& shape,
        bool outputs_held, bool two_registers)
      : x_(x),
        y_(y),
        folds_(folds),
        shape_(shape),
        outputs_held_(outputs_held),
        two_registers_(two_registers),
        units_(static_cast<size_t>(shape.rows * shape.cols)),
        product_(static_cast<size_t>(x.rows() * y.cols())) {}

  void cycle(const Slot& slot) {
    issued_.push_back(slot);
    // From the far corner on, so that the neighbours before a unit still hold what they held.
    for (int64_t r = shape_.rows - 1; r >= 0; --r)
      for (int64_t c = shape_.cols - 1; c >= 0; --c) outputs_held_ ? hold_sum(r, c) : hold_operand(r, c);
  }
  const std::vector<int64_t>& product() const { return product_; }
  int64_t delivered() const { return delivered_; }
  int64_t cycles() const { return static_cast<int64_t>(issued_.size()); }

 private:
  Unit& unit(int64_t r, int64_t c) { return units_[static_cast<size_t>(r * shape_.cols + c)]; }
  const Fold& fold(int f) const { return folds_[static_cast<size_t>(f)]; }
  // The slot that enters at row or column `delay` in this cycle, or none.
  int entering(int64_t delay) const { return static_cast<int>(cycles() - 1 - delay); }
  const Slot& issued(int slot) const { return issued_[static_cast<size_t>(slot)]; }

  void take_stream(int64_t r, int64_t c) {
    Unit& u = unit(r, c);
    if (c > 0) {
      u.slot = unit(r, c - 1).slot;
      u.across = unit(r, c - 1).across;
      return;
    }
    const int slot = entering(r);
    u.slot = slot >= 0 && issued(slot).stream_fold >= 0 ? slot : -1;
    if (u.slot < 0) return;
    const Slot& s = issued(slot);
    const Fold& f = fold(s.stream_fold);
    u.across = outputs_held_ ? x_.at(f.row + r, s.index) : x_.at(f.first + s.index, f.row + r);
  }

  Word take_word(int64_t r, int64_t c) {
    if (r > 0) return unit(r - 1, c).word;
    const int slot = entering(c);
    if (slot < 0 || issued(slot).bus_fold < 0) return {};
    const Slot& s = issued(slot);
    const Fold& f = fold(s.bus_fold);
    return {s.bus_fold, s.bus_row, outputs_held_ ? 0 : y_.at(f.row + s.bus_row, f.col + c)};
  }

  void deliver(int64_t i, int64_t j, int64_t value) {
    ++delivered_;
    if (i < x_.rows() && j < y_.cols()) product_[static_cast<size_t>(i * y_.cols() + j)] += value;
  }

  void hold_operand(int64_t r, int64_t c) {
    take_stream(r, c);
    Unit& u = unit(r, c);
    if (u.slot >= 0) {
      const Slot& s = issued(u.slot);
      if (two_registers_ && s.first) u.held = u.second;
      u.down = (r > 0 ? unit(r - 1, c).down : 0) + u.held * u.across;
      const Fold& f = fold(s.stream_fold);
      if (r == shape_.rows - 1) deliver(f.first + s.index, f.col + c, u.down);
    }
    u.word = take_word(r, c);
    if (u.word.fold >= 0 && u.word.row == r) (two_registers_ ? u.second : u.held) = u.word.value;
  }

  void hold_sum(int64_t r, int64_t c) {
    take_stream(r, c);
    Unit& u = unit(r, c);
    u.word = take_word(r, c);
    if (u.word.fold >= 0 && u.word.row == r) u.word.value = two_registers_ ? u.second : u.held;
    if (u.word.fold >= 0 && r == shape_.rows - 1)
      deliver(fold(u.word.fold).row + u.word.row, fold(u.word.fold).col + c, u.word.value);
    if (u.slot < 0) return;
    const Slot& s = issued(u.slot);
    u.down = r > 0 ? unit(r - 1, c).down : y_.at(s.index, fold(s.stream_fold).col + c);
    u.held = (s.first ? 0 : u.held) + u.across * u.down;
    if (s.last) u.second = u.held;
  }

  Matrix x_, y_;
  const std::vector<Fold>& folds_;
  ArrayShape shape_;
  bool outputs_held_, two_registers_;
  std::vector<Unit> units_;
  std::vector<Slot> issued_;  // of every cycle so far
  std::vector<int64_t> product_;
  int64_t delivered_ = 0;
};

}  // namespace

SimulatedGemm simulate_gemm(const std::vector<int64_t>& a, const std::vector<int64_t>& b, int64_t m,
                            int64_t n, int64_t k, const ArrayShape& shape, ArrayDataflow dataflow,
                            CycleModel model, bool hurry) {
  const bool outputs_held = dataflow == ArrayDataflow::os, swapped = dataflow == ArrayDataflow::is;
  // With the inputs held, the transposed product is computed, with the weights streaming.
  const Matrix x{swapped ? b : a, swapped ? k : m, swapped ? n : k, swapped};
  const Matrix y{swapped ? a : b, swapped ? m : k, swapped ? k : n, swapped};
  const int64_t streamed = outputs_held ? k : x.rows();
  const int64_t tile = outputs_held || shape.tile_rows == 0 ? streamed : shape.tile_rows;
  const std::vector<Fold> folds = list_folds(outputs_held ? m : k, y.cols(), streamed, tile, shape);
  int64_t to_deliver = 0, promised = 0;
  for (const Fold& fold : folds) to_deliver += shape.cols * (outputs_held ? shape.rows : fold.length);

  Sequencer sequencer(folds, shape.rows, outputs_held, model, hurry);
  Array array(x, y, folds, shape, outputs_held, model == CycleModel::double_buffer);
  while (array.delivered() < to_deliver) {
    const Slot slot = sequencer.next(array.delivered() == promised);
    if ((outputs_held ? slot.bus_fold : slot.stream_fold) >= 0) promised += shape.cols;
    array.cycle(slot);
    CHECK(array.cycles() < 1'000'000, "the simulated array has come to a halt");
  }

  SimulatedGemm result{array.cycles(), static_cast<int64_t>(folds.size()), array.product()};
  if (swapped)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        result.c[static_cast<size_t>(i * n + j)] = array.product()[static_cast<size_t>(j * m + i)];
  return result;
}
}  // namespace mbs::reference
