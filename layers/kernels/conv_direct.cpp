// Direct convolution, forward and data gradient: each is a correlation of zero-framed images with panels of
// weights (conv_simd.h).
//
// The data gradient is itself a correlation, over dy. With stride s, input row h gets contributions of the
// kernel rows kh with (h + pad - kh) divisible by s: kh = phase + s j, where phase = (h + pad) mod s, from
// output row q - j, where q = (h + pad - phase) / s. So the rows of one phase are a stride-1 correlation with
// the taps of that phase in reverse order; the same holds for columns, and stride 1 is the case of one phase.
#include "layers/kernels/conv_frame.h"
#include "layers/kernels/conv_weight_gradient.h"

namespace mbs {
namespace {

/// Elements of all packed panels of a [k][channels] matrix, on any machine.
int64_t panels_elems(int64_t k, int64_t channels) {
  return k * ((channels + kMaxLanes - 1) / kMaxLanes * kMaxLanes);
}

/// A range of output channels.
struct Panel {
  int vectors;
  int64_t first, channels, width;
};

/// Calls body(panel) for all panels of `channels` output channels. Packed panels follow each other: that of
/// k rows begins at k * panel.first.
template <class Body>
void for_each_panel(int64_t channels, Body&& body) {
  for (int64_t first = 0; first < channels;) {
    const int vectors = panel_vectors(channels - first);
    const int64_t width = vectors * vector_lanes();
    body(Panel{vectors, first, std::min(width, channels - first), width});
    first += width;
  }
}

/// Panels of more elements are packed at each call, into scratch that all layers share: layers with so many
/// weights do enough work per weight to hide that, and ResNet-50 would keep 140 MiB of panels beside its
/// weights.
constexpr int64_t kMostPrepared = int64_t{1} << 18;

/// `Panels`: the weights of one direction as panels, elems() of them (0: the kernel reads them as they are),
/// which pack() makes.
template <class Panels>
int64_t prepared_elems(const ConvShape& s) {
  const int64_t elems = Panels::elems(s);
  return elems <= kMostPrepared ? elems : 0;
}

template <class Panels>
void prepare(const ConvShape& s, const real* w, real* prepared) {
  if (prepared_elems<Panels>(s) > 0) Panels::pack(s, w, prepared);
}

/// Scratch that panels() needs.
template <class Panels>
int64_t panel_scratch(const ConvShape& s) {
  return Panels::elems(s) - prepared_elems<Panels>(s);
}

/// The panels of a call.
template <class Panels>
const real* panels(const ConvShape& s, const ConvArgs& a, real* scratch) {
  if (Panels::elems(s) == 0) return a.w;
  if (prepared_elems<Panels>(s) > 0) return a.prepared;
  Panels::pack(s, a.w, scratch);
  return scratch;
}

// --- forward ---

struct ForwardPanels {
  static int64_t elems(const ConvShape& s) {
    const bool is_one_panel = s.out.c == panel_vectors(s.out.c) * vector_lanes();
    return is_one_panel ? 0 : panels_elems(s.taps() * s.in.c, s.out.c);
  }
  static void pack(const ConvShape& s, const real* w, real* to) {
    const int64_t k = s.taps() * s.in.c;
    for_each_panel(s.out.c, [&](const Panel& p) {
      copy_columns(w + p.first, k, p.channels, s.out.c, to + k * p.first, p.width);
    });
  }
};

Tile forward_tile(const ConvShape& s, const Frame& f) {
  return largest_tile(f, s.out.w, f.step * f.row_elems() + int64_t{s.out.w} * s.out.c);
}

int64_t forward_scratch(const ConvShape& s) {
  const Frame f = input_frame(s);
  return kAlignSlack + panel_scratch<ForwardPanels>(s) + frame_scratch(f, forward_tile(s, f));
}

void forward(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = input_frame(s);
  const Tile largest = forward_tile(s, frame);
  const Patch patch = input_patch(s, frame);
  real* scratch = align_scratch(a.scratch);
  const real* weights = panels<ForwardPanels>(s, a, scratch);
  real* framed = scratch + panel_scratch<ForwardPanels>(s);
  const int64_t out_row = int64_t{s.out.w} * s.out.c;
  for_each_tile(frame, largest, a.samples, a.x, framed, [&](const Tile& t, const real* x, int64_t x_step) {
    const Grid grid{t.samples, t.rows, s.out.w};
    real* y = a.out + t.first * s.out.elems() + t.row * out_row;
    const Pixels<const real> in{x, x_step, s.stride.h * frame.row_elems(), int64_t{s.stride.w} * s.in.c};
    for_each_panel(s.out.c, [&](const Panel& p) {
      const Pixels<real> out{y + p.first, s.out.elems(), out_row, s.out.c};
      correlate(patch, grid, in, weights + patch.elems() * p.first, p.vectors, p.channels,
                a.bias == nullptr ? nullptr : a.bias + p.first, false, out);
    });
  });
}

// --- data gradient ---

/// One axis of one phase: the input positions begin, begin + stride, ... (`count` of them) and the taps
/// phase, phase + stride, ... (`taps` of them); the first position's last tap reads output position `from`.
struct PhaseAxis {
  int phase, begin, count, taps, from;
};

PhaseAxis phase_axis(int phase, int in, int kernel, int stride, int pad) {
  const int begin = ((phase - pad) % stride + stride) % stride;
  const int count = begin < in ? (in - begin - 1) / stride + 1 : 0;
  const int taps = phase < kernel ? (kernel - phase - 1) / stride + 1 : 0;
  return {phase, begin, count, taps, (begin + pad - phase) / stride - (taps - 1)};
}

/// What the phases of one axis need of dy: the border before and after it, the most positions of a phase, and
/// how many output positions they read for one, the border before included.
struct AxisNeeds {
  int before = 0, after = 0, count = 0, span = 1;
};

AxisNeeds axis_needs(int in, int out, int kernel, int stride, int pad) {
  AxisNeeds needs;
  int last = 0;
  for (int phase = 0; phase < stride; ++phase) {
    const PhaseAxis axis = phase_axis(phase, in, kernel, stride, pad);
    needs.count = std::max(needs.count, axis.count);
    if (axis.count == 0 || axis.taps == 0) continue;
    needs.before = std::max(needs.before, -axis.from);
    needs.after = std::max(needs.after, axis.from + axis.count - 1 + axis.taps - out);
    last = std::max(last, axis.from + axis.taps);
  }
  needs.span = std::max(1, needs.before + last);
  return needs;
}

Frame gradient_frame(const ConvShape& s) {
  const AxisNeeds h = axis_needs(s.in.h, s.out.h, s.kernel.h, s.stride.h, s.pad.h);
  const AxisNeeds w = axis_needs(s.in.w, s.out.w, s.kernel.w, s.stride.w, s.pad.w);
  return {s.out, h.before, w.before, w.after, h.count, 1, h.span};
}

Tile gradient_tile(const ConvShape& s, const Frame& f) {
  const int64_t in_row = int64_t{s.stride.h} * s.in.w;
  return largest_tile(f, in_row, f.row_elems() + in_row * s.in.c);
}

/// One phase of both axes.
struct Phase2d {
  PhaseAxis h, w;

  int64_t k(const ConvShape& s) const { return int64_t{h.taps} * w.taps * s.out.c; }
};

/// Calls body(phase, where its panels begin among all) for the phases that have pixels and taps.
template <class Body>
void for_each_phase(const ConvShape& s, Body&& body) {
  int64_t packed = 0;
  for (int h = 0; h < s.stride.h; ++h)
    for (int w = 0; w < s.stride.w; ++w) {
      const Phase2d phase{phase_axis(h, s.in.h, s.kernel.h, s.stride.h, s.pad.h),
                          phase_axis(w, s.in.w, s.kernel.w, s.stride.w, s.pad.w)};
      if (phase.h.count > 0 && phase.w.count > 0 && phase.k(s) > 0) body(phase, packed);
      packed += panels_elems(phase.k(s), s.in.c);
    }
}

/// Some pixel of dx gets no contribution.
bool has_gaps(const ConvShape& s) { return s.stride.h > s.kernel.h || s.stride.w > s.kernel.w; }

/// All panels of one phase: turned and transposed weights, [taps of h][taps of w][c_out] x panel of c_in,
/// taps in reverse order.
void pack_phase(const ConvShape& s, const Phase2d& phase, const real* w, real* to) {
  for_each_panel(s.in.c, [&](const Panel& p) {
    real* panel = to + phase.k(s) * p.first;
    if (p.channels < p.width) std::fill_n(panel, phase.k(s) * p.width, real{0});
    for (int jh = phase.h.taps - 1; jh >= 0; --jh)
      for (int jw = phase.w.taps - 1; jw >= 0; --jw, panel += s.out.c * p.width) {
        const int64_t kh = phase.h.phase + jh * s.stride.h, kw = phase.w.phase + jw * s.stride.w;
        const real* tap = w + ((kh * s.kernel.w + kw) * s.in.c + p.first) * s.out.c;
        transpose(tap, p.channels, s.out.c, s.out.c, panel, p.width);
      }
  });
}

struct DataGradientPanels {
  static int64_t elems(const ConvShape& s) { return panels_elems(s.taps() * s.out.c, s.in.c); }
  static void pack(const ConvShape& s, const real* w, real* to) {
    for_each_phase(s, [&](const Phase2d& phase, int64_t at) { pack_phase(s, phase, w, to + at); });
  }
};

int64_t data_gradient_scratch(const ConvShape& s) {
  const Frame f = gradient_frame(s);
  return kAlignSlack + panel_scratch<DataGradientPanels>(s) + frame_scratch(f, gradient_tile(s, f));
}

/// dx of one phase in the rows of one tile.
void phase_gradient(const ConvShape& s, const ConvArgs& a, const Frame& f, const Phase2d& phase,
                    const Tile& t, const real* dy, int64_t dy_step, const real* panels) {
  const Grid grid{t.samples, std::min(t.rows, phase.h.count - t.row), phase.w.count};
  if (grid.rows <= 0) return;
  const Patch patch{phase.h.taps, f.row_elems(), int64_t{phase.w.taps} * s.out.c};
  dy += (f.top + phase.h.from) * f.row_elems() + int64_t{f.left + phase.w.from} * s.out.c;
  const Pixels<const real> in{dy, dy_step, f.row_elems(), s.out.c};
  const int64_t row = int64_t{phase.h.begin} + int64_t{t.row} * s.stride.h;
  real* dx = a.out + t.first * s.in.elems() + (row * s.in.w + phase.w.begin) * s.in.c;
  for_each_panel(s.in.c, [&](const Panel& p) {
    const Pixels<real> out{dx + p.first, s.in.elems(), int64_t{s.stride.h} * s.in.w * s.in.c,
                           int64_t{s.stride.w} * s.in.c};
    correlate(patch, grid, in, panels + patch.elems() * p.first, p.vectors, p.channels, nullptr, a.add, out);
  });
}

/// Zeros in the rows of dx that belong to a tile.
void clear_rows(const ConvShape& s, const Tile& t, real* dx) {
  const int64_t row = int64_t{s.in.w} * s.in.c, first = int64_t{t.row} * s.stride.h;
  const int64_t end = std::min<int64_t>(s.in.h, first + int64_t{t.rows} * s.stride.h);
  for (int i = 0; i < t.samples; ++i)
    std::fill_n(dx + (t.first + i) * s.in.elems() + first * row, (end - first) * row, real{0});
}

void data_gradient(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = gradient_frame(s);
  const Tile largest = gradient_tile(s, frame);
  real* scratch = align_scratch(a.scratch);
  const real* weights = panels<DataGradientPanels>(s, a, scratch);
  real* framed = scratch + panel_scratch<DataGradientPanels>(s);
  const bool clear = has_gaps(s) && !a.add;
  for_each_tile(frame, largest, a.samples, a.dy, framed, [&](const Tile& t, const real* dy, int64_t dy_step) {
    if (clear) clear_rows(s, t, a.out);
    for_each_phase(s, [&](const Phase2d& phase, int64_t at) {
      phase_gradient(s, a, frame, phase, t, dy, dy_step, weights + at);
    });
  });
}

}  // namespace

const ConvKernels kDirectConv = {
    {forward_scratch, forward, prepared_elems<ForwardPanels>, prepare<ForwardPanels>},
    {data_gradient_scratch, data_gradient, prepared_elems<DataGradientPanels>, prepare<DataGradientPanels>},
    kDirectWeightGradient};

}  // namespace mbs
