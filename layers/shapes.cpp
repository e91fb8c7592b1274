#include "layers/shapes.h"

#include "engine/check.h"

namespace mbs {

std::string to_text(std::span<const Shape> shapes) {
  std::string text;
  for (const Shape& s : shapes) text += fmt::format("{}{}x{}x{}", text.empty() ? "" : " ", s.h, s.w, s.c);
  return text;
}

void check_input_count(const Spec& spec, std::span<const Shape> in, size_t count) {
  if (in.size() != count)
    fail_usage("layer '{}': takes {} input{}, not {} ({})", spec.text(), count, count == 1 ? "" : "s",
               in.size(), to_text(in));
}

Shape window_shape(const Spec& spec, const Shape& in, const Window& w, int channels) {
  const int free_h = in.h + 2 * w.pad.h - w.kernel.h, free_w = in.w + 2 * w.pad.w - w.kernel.w;
  if (free_h < 0 || free_w < 0)
    fail_usage(
        "layer '{}': the kernel {}x{} is larger than its input {} with padding {}x{}; use a smaller kernel "
        "or more "
        "padding",
        spec.text(), w.kernel.h, w.kernel.w, to_text(in), w.pad.h, w.pad.w);
  return {free_h / w.stride.h + 1, free_w / w.stride.w + 1, channels};
}

Window pooling_window(const Spec& spec) {
  Window w;
  w.kernel = spec.required_extent("kernel");
  w.stride = spec.extent_or("stride", w.kernel, 1);
  w.pad = spec.extent_or("pad", {0, 0});
  if (w.pad.h >= w.kernel.h || w.pad.w >= w.kernel.w)
    fail_usage("layer '{}': pad={}x{} must be smaller than the kernel {}x{}", spec.text(), w.pad.h, w.pad.w,
               w.kernel.h, w.kernel.w);
  return w;
}

}  // namespace mbs
