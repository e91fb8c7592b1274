// `mbs predict`: the five most probable classes of image files.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/training/evaluator.h"
#include "apps/training/trained_run.h"
#include "datasets/image.h"

namespace mbs {
namespace {

struct PredictOptions {
  std::string run, checkpoint = "best";
  std::vector<std::string> images;
  bool json = false;
};

/// Classes by falling probability; equal ones in their own order.
std::vector<size_t> top_classes(std::span<const real> probabilities, size_t count) {
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return probabilities[a] > probabilities[b]; });
  order.resize(std::min(count, order.size()));
  return order;
}

int run_predict(const PredictOptions& options) {
  const TrainedRun run = open_run(options.run, options.checkpoint);
  const CheckpointInfo& info = run.info;
  const Shape shape = run.network.tensor(run.network.input()).shape;
  const PixelTable table = pixel_table(info.normalization);
  Evaluator evaluator(run.network, 1);
  std::vector<real> image(static_cast<size_t>(shape.elems()));
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const std::string& path : options.images) {
    normalize(load_image(path, shape, info.image_border), table, image.data());
    const std::vector<real> probabilities = evaluator.probabilities(image, 1, spans_of(run.state));
    nlohmann::ordered_json classes = nlohmann::ordered_json::array();
    if (!options.json) fmt::print("{}\n", path);
    for (const size_t c : top_classes(probabilities, 5)) {
      const auto p = static_cast<double>(probabilities[c]);
      classes.push_back({{"class", info.class_names[c]}, {"probability", p}});
      if (!options.json) fmt::print("  {:>8}  {}\n", percent(p), info.class_names[c]);
    }
    json.push_back({{"image", path}, {"classes", classes}});
  }
  if (options.json) fmt::print("{}\n", json.dump(2));
  return 0;
}

class Predict final : public Command {
  PredictOptions o_;

  void declare(Parser& parser) override {
    parser({.names = "run", .help = "run folder, its name under runs/, or last", .required = true}, o_.run);
    parser({.names = "images", .help = "image files (jpg, png, bmp, ppm, pgm)", .required = true}, o_.images);
    parser({"--checkpoint", "which weights", 0, 0, "best|last"}, o_.checkpoint);
    parser({"--json", "print JSON"}, o_.json);
  }

  int run() override { return run_predict(o_); }
};

}  // namespace

COMMAND(predict, Predict, "classify image files with a run", "The five most probable classes of image files.",
        "  mbs predict runs/resnet20-fashion-mnist-mbs2 shoe.png\n  mbs predict last *.jpg --json\n")

}  // namespace mbs
