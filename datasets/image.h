// Image files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/shape.h"

namespace mbs {

/// Whether the name ends like an image that load_image reads: jpg jpeg png ppm pgm bmp, in any case.
bool is_image_name(const std::filesystem::path&);

/// An image as it is in its file, three channels (grey is repeated; transparent parts are laid over white).
struct Image {
  Shape shape;
  std::vector<uint8_t> pixels;  ///< h x w x 3
};

/// Decodes an image file. Error: names the file and the decoder's reason.
Image decode_image(const std::filesystem::path&);

/// Decodes and resizes an image to `shape` (h, w, and 1 or 3 channels; 1 is the usual luma 0.299 R + 0.587 G
/// + 0.114 B), for a network trained on images of that shape. `border`: black pixels on each side within the
/// shape, as Dataset::border says. The whole image is kept: other proportions are stretched.
std::vector<uint8_t> load_image(const std::filesystem::path&, const Shape& shape, int border = 0);

/// Resizes to height h and width w by a triangle filter, widened where the image shrinks (so every pixel
/// counts).
std::vector<uint8_t> resize_image(const Image&, int h, int w);

}  // namespace mbs
