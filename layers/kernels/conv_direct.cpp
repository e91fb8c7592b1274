// Direct convolution, forward and data gradient: each is a correlation of zero-framed images with panels of
// weights (conv_simd.h). Panels are packed just before they are used, so that they are read from cache.
//
// The data gradient is itself a correlation, over dy. With stride s, input row h gets contributions of the
// kernel rows kh with (h + pad - kh) divisible by s: kh = phase + s j, where phase = (h + pad) mod s, from
// output row q - j, where q = (h + pad - phase) / s. So the rows of one phase are a stride-1 correlation with
// the taps of that phase in reverse order; the same holds for columns, and stride 1 is the case of one phase.
#include <utility>

#include "layers/kernels/conv_frame.h"
#include "layers/kernels/conv_weight_gradient.h"

namespace mbs {
namespace {

/// Scratch space for one packed panel, whatever its number of vectors.
int64_t panel_scratch(int64_t k, int64_t channels) {
  const int64_t whole = (channels + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
  return k * std::min(whole, kMaxPanelVectors * kMaxLanes);
}

/// Correlates every image of a tile with every panel of `channels` output channels. `out` is the first
/// image's; pack(first channel, channels, width, to) writes [p.elems()][width].
template <class Pack>
void correlate_tile(const Patches& p, const Frame& f, int samples, const real* images, int64_t channels,
                    const real* bias, bool add, const Pixels<real>& out, int64_t out_step, real* packed,
                    Pack&& pack) {
  for (int64_t first = 0; first < channels;) {
    const int vectors = panel_vectors(channels - first, p.cols);
    const int64_t width = vectors * vector_lanes(), used = std::min(width, channels - first);
    if (used < width) std::fill_n(packed, p.elems() * width, real{0});
    pack(first, used, width, packed);
    for (int i = 0; i < samples; ++i)
      correlate(p, images + i * f.elems(), packed, vectors, used, bias == nullptr ? nullptr : bias + first,
                add, {out.data + i * out_step + first, out.row_step, out.col_step});
    first += used;
  }
}

// --- forward ---

int64_t forward_scratch(const ConvShape& s) {
  return kAlignSlack + input_frame(s).scratch_elems() + panel_scratch(s.taps() * s.in.c, s.out.c);
}

void forward(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = input_frame(s);
  const Patches p = input_patches(s, frame);
  real* framed = align_scratch(a.scratch);
  const auto pack = [&](int64_t first, int64_t channels, int64_t width, real* to) {
    for (int64_t k = 0; k < p.elems(); ++k) std::copy_n(a.w + k * s.out.c + first, channels, to + k * width);
  };
  for_each_tile(frame, a.samples, a.x, framed, [&](int first, int count, const real* images) {
    const Pixels<real> y{a.out + first * s.out.elems(), int64_t{s.out.w} * s.out.c, s.out.c};
    correlate_tile(p, frame, count, images, s.out.c, a.bias, false, y, s.out.elems(),
                   framed + frame.scratch_elems(), pack);
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

/// The border before and after dy that the phases of one axis need.
std::pair<int, int> gradient_border(int in, int out, int kernel, int stride, int pad) {
  int before = 0, after = 0;
  for (int phase = 0; phase < stride; ++phase) {
    const PhaseAxis axis = phase_axis(phase, in, kernel, stride, pad);
    if (axis.count == 0 || axis.taps == 0) continue;
    before = std::max(before, -axis.from);
    after = std::max(after, axis.from + axis.count - 1 + axis.taps - out);
  }
  return {before, after};
}

Frame gradient_frame(const ConvShape& s) {
  const auto [top, bottom] = gradient_border(s.in.h, s.out.h, s.kernel.h, s.stride.h, s.pad.h);
  const auto [left, right] = gradient_border(s.in.w, s.out.w, s.kernel.w, s.stride.w, s.pad.w);
  return {s.out, top, bottom, left, right};
}

/// One phase of both axes.
struct Phase2d {
  PhaseAxis h, w;

  bool has_taps() const { return h.taps > 0 && w.taps > 0; }
};

/// Calls body(phase) for the phases that have pixels; without `all` only for those that have taps.
template <class Body>
void for_each_phase(const ConvShape& s, bool all, Body&& body) {
  for (int h = 0; h < s.stride.h; ++h)
    for (int w = 0; w < s.stride.w; ++w) {
      const Phase2d phase{phase_axis(h, s.in.h, s.kernel.h, s.stride.h, s.pad.h),
                          phase_axis(w, s.in.w, s.kernel.w, s.stride.w, s.pad.w)};
      if (phase.h.count > 0 && phase.w.count > 0 && (all || phase.has_taps())) body(phase);
    }
}

Patches phase_patches(const ConvShape& s, const Frame& f, const Phase2d& phase) {
  Patches p;
  p.rows = phase.h.count;
  p.cols = phase.w.count;
  p.row_step = p.run_step = f.row_elems();
  p.col_step = s.out.c;
  if (phase.has_taps()) {
    p.runs = phase.h.taps;
    p.run_elems = int64_t{phase.w.taps} * s.out.c;
  }
  if (s.pointwise()) {
    p.rows = 1;
    p.cols *= phase.h.count;
  }
  return p;
}

/// Turned and transposed weights: [taps of h][taps of w][c_out] x panel of c_in, taps in reverse order.
void pack_turned(const ConvShape& s, const Phase2d& phase, const real* weights, int64_t first,
                 int64_t channels, int64_t width, real* to) {
  if (!phase.has_taps()) return;
  for (int jh = phase.h.taps - 1; jh >= 0; --jh)
    for (int jw = phase.w.taps - 1; jw >= 0; --jw, to += s.out.c * width) {
      const int64_t kh = phase.h.phase + jh * s.stride.h, kw = phase.w.phase + jw * s.stride.w;
      const real* block = weights + ((kh * s.kernel.w + kw) * s.in.c + first) * s.out.c;
      transpose(block, channels, s.out.c, s.out.c, to, width);
    }
}

int64_t data_gradient_scratch(const ConvShape& s) {
  return kAlignSlack + gradient_frame(s).scratch_elems() + panel_scratch(s.taps() * s.out.c, s.in.c);
}

void data_gradient(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = gradient_frame(s);
  real* framed = align_scratch(a.scratch);
  real* packed = framed + frame.scratch_elems();
  for_each_tile(frame, a.samples, a.dy, framed, [&](int first, int count, const real* images) {
    const bool all = !a.add;  // without taps there is nothing to add, but zero to assign
    for_each_phase(s, all, [&](const Phase2d& phase) {
      const real* origin = images;
      if (phase.has_taps())
        origin +=
            (frame.top + phase.h.from) * frame.row_elems() + int64_t{frame.left + phase.w.from} * s.out.c;
      const int64_t begin = (int64_t{phase.h.begin} * s.in.w + phase.w.begin) * s.in.c;
      const Pixels<real> dx{a.out + first * s.in.elems() + begin, int64_t{s.stride.h} * s.in.w * s.in.c,
                            int64_t{s.stride.w} * s.in.c};
      const auto pack = [&](int64_t channel, int64_t channels, int64_t width, real* to) {
        pack_turned(s, phase, a.w, channel, channels, width, to);
      };
      correlate_tile(phase_patches(s, frame, phase), frame, count, origin, s.in.c, nullptr, a.add, dx,
                     s.in.elems(), packed, pack);
    });
  });
}

}  // namespace

const ConvKernels kDirectConv = {
    {forward_scratch, forward}, {data_gradient_scratch, data_gradient}, kDirectWeightGradient};

}  // namespace mbs
