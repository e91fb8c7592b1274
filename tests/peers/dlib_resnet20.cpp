// One measurement of a training step of ResNet-20 in dlib: batch norm, SGD with momentum, random images.
// Where a shortcut changes shape, it averages 2x2 pixels and adds zero channels, which is how dlib spells the
// shortcut without parameters.
//
//   OMP_NUM_THREADS=2 dlib_resnet20 128 5      batch, seconds
//
// Prints one line of JSON, as torch_step.py does. Needs Debian's libdlib-dev.
#include <dlib/dnn.h>
#include <dlib/revision.h>
#include <fmt/core.h>

#include <cstdlib>
#include <vector>

#include "apps/report/progress.h"
#include "apps/system/child_process.h"
#include "apps/system/median.h"

namespace {

template <int channels, int stride, class Below>
using convolution = dlib::add_layer<dlib::con_<channels, 3, 3, stride, stride, 1, 1>, Below>;
template <int channels, int stride, class Below>
using branch =
    dlib::bn_con<convolution<channels, 1, dlib::relu<dlib::bn_con<convolution<channels, stride, Below>>>>>;
template <int channels, class Below>
using block = dlib::relu<dlib::add_prev1<branch<channels, 1, dlib::tag1<Below>>>>;
template <int channels, class Below>
using halving_block = dlib::relu<dlib::add_prev2<
    dlib::avg_pool<2, 2, 2, 2, dlib::skip1<dlib::tag2<branch<channels, 2, dlib::tag1<Below>>>>>>>;
template <class Below>
using block16 = block<16, Below>;
template <class Below>
using block32 = block<32, Below>;
template <class Below>
using block64 = block<64, Below>;

using Image = dlib::matrix<dlib::rgb_pixel>;
template <class Below>
using Stem = dlib::relu<dlib::bn_con<convolution<16, 1, Below>>>;
template <class Below>
using Stages = dlib::repeat<
    2, block64,
    halving_block<64, dlib::repeat<2, block32, halving_block<32, dlib::repeat<3, block16, Below>>>>>;
using ResNet20 =
    dlib::loss_multiclass_log<dlib::fc<10, dlib::avg_pool_everything<Stages<Stem<dlib::input<Image>>>>>>;

struct Batch {
  std::vector<Image> images;
  std::vector<unsigned long> labels;
};

Batch random_batch(int size) {
  Batch batch;
  dlib::rand random;
  for (int i = 0; i < size; ++i) {
    Image image(32, 32);
    for (dlib::rgb_pixel& pixel : image)
      pixel = {random.get_random_8bit_number(), random.get_random_8bit_number(),
               random.get_random_8bit_number()};
    batch.images.push_back(std::move(image));
    batch.labels.push_back(static_cast<unsigned long>(i % 10));
  }
  return batch;
}

}  // namespace

int main(int argc, char** argv) {
  const int size = argc == 3 ? std::atoi(argv[1]) : 0;
  const double wanted_seconds = argc == 3 ? std::atof(argv[2]) : 0;
  if (size < 1 || wanted_seconds <= 0) {
    fmt::print(stderr, "usage: OMP_NUM_THREADS=N dlib_resnet20 BATCH SECONDS\n");
    return 2;
  }
  ResNet20 net;
  dlib::disable_duplicative_biases(net);  // before a batch norm; no peer has them
  dlib::dnn_trainer<ResNet20> trainer(net, dlib::sgd(1e-4f, 0.9f));
  trainer.set_learning_rate(0.01);
  const Batch batch = random_batch(size);
  const auto step = [&] {
    trainer.train_one_step(batch.images, batch.labels);
    trainer.get_net(dlib::force_flush_to_disk::no);  // waits for the end of the step
  };

  step();
  std::vector<double> seconds;
  mbs::Stopwatch all;
  while (seconds.size() < 3 || all.seconds() < wanted_seconds) {
    mbs::Stopwatch watch;
    step();
    seconds.push_back(watch.seconds());
  }
  const double median = mbs::median(seconds);
  fmt::print(
      R"({{"version": "{}.{}", "batch_size": {}, "images_per_second": {}, "seconds_per_step": {}, "steps": {}, )"
      R"("peak_rss_bytes": {}, "parameters": {}}})"
      "\n",
      DLIB_MAJOR_VERSION, DLIB_MINOR_VERSION, size, size / median, median, seconds.size(),
      mbs::peak_rss_bytes(), dlib::count_parameters(trainer.get_net(dlib::force_flush_to_disk::no)));
}
