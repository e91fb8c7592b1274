// Augmentation of training images, keyed by (seed, epoch, index of the image): the same whatever order, batch
// size or thread an image is read in.
#pragma once

#include <cstdint>

#include "datasets/dataset.h"
#include "datasets/pixel_normalization.h"
#include "engine/words.h"

namespace mbs {

/// What the border of a padded image shows.
enum class PadMode : uint8_t {
  black,    ///< nothing
  reflect,  ///< the image mirrored at its outermost pixels, which are not repeated
};
constexpr auto words_of(PadMode) { return EnumWords{"padding mode", "black", "reflect"}; }

/// The random changes of a training image. The default is the usual one for CIFAR (He et al. 2015,
/// section 4.2).
struct Augmentation {
  int pad = 4;       ///< border of this width, then a random crop of the original size; 0: none
  bool flip = true;  ///< left and right exchanged, in one half of the cases
  int cutout =
      0;  ///< a square of this size at a random centre becomes the mean (DeVries and Taylor 2017); 0: none
  PadMode pad_mode = PadMode::black;
};
inline constexpr Augmentation kNoAugmentation{0, false, 0, PadMode::black};

/// Usage error: a negative size, or a border wider than images of this shape can fill.
void validate(const Augmentation&, const Shape&);

/// Which image, when.
struct SampleKey {
  uint64_t seed = 0;
  int64_t epoch = 0;
  int index = 0;  ///< into the data set
};

/// Writes image `key.index` of the data set, augmented and normalised, to out (h x w x c). The border is
/// added to the bytes, before normalising, as torchvision does: it is black, not the mean, or mirrored. The
/// cutout square is cut off at the edges of the image and becomes 0, the mean after normalising.
void write_sample(const Dataset&, const SampleKey&, const PixelTable&, const Augmentation&, real* out);

/// Exchanges left and right of a row of `width` pixels.
void mirror_row(int width, int channels, real* row);

}  // namespace mbs
