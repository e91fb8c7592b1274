// The fully connected layer against its definition, and its independence of how samples are split.
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "engine/check.h"
#include "engine/network.h"
#include "tests/values.h"

namespace mbs {
namespace {

/// A layer, its inputs, and what it makes of them.
struct Subject {
  std::shared_ptr<const Layer> layer;
  int samples;
  int64_t in, out;
  bool has_bias;
  Values x, w, b, dy, old_dx;
};

Subject make_subject(const std::string& spec, const Shape& in, int samples) {
  Subject s;
  s.layer = make_layer(spec, std::span(&in, 1));
  s.samples = samples;
  s.in = in.elems();
  s.out = s.layer->out_shape().c;
  s.has_bias = s.layer->params().size() == 2;
  s.x = real_noise(samples * s.in, 1);
  s.w = real_noise(s.in * s.out, 2);
  s.b = real_noise(s.out, 3);
  s.dy = real_noise(samples * s.out, 4);
  s.old_dx = real_noise(samples * s.in, 5);
  return s;
}

struct Results {
  Values y, dx, dw, db;
};

/// Forward and backward over consecutive chunks. Gradients of parameters start from 1.
Results run(const Subject& s, const std::vector<int>& chunks, bool add) {
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  Results r{Values(size(s.samples * s.out), kNan), add ? s.old_dx : Values(size(s.samples * s.in), kNan),
            Values(size(s.in * s.out), 1), Values(size(s.out), 1)};
  const Needs needs = s.layer->needs(true);
  const real* params[] = {s.w.data(), s.b.data()};
  Values prepared(size(needs.prepared_elems), kNan);
  s.layer->prepare({params, s.layer->params().size()}, true, prepared.data());
  int64_t first = 0;
  for (const int count : chunks) {
    real* dparams[] = {r.dw.data(), r.db.data()};
    const real* x[] = {s.x.data() + first * s.in};
    Values scratch(size(std::max(needs.forward_scratch_elems, needs.backward_scratch_elems)), kNan);
    Forward f;
    f.samples = count;
    f.x = x;
    f.y = r.y.data() + first * s.out;
    f.params = {params, s.has_bias ? size_t{2} : size_t{1}};
    f.prepared = prepared.data();
    f.scratch = scratch.data();
    s.layer->forward(f);
    real* dx[] = {r.dx.data() + first * s.in};
    const uint8_t add_to_dx[] = {add};
    Backward b;
    b.samples = count;
    b.x = x;
    b.dy = s.dy.data() + first * s.out;
    b.dx = dx;
    b.add_to_dx = add_to_dx;
    b.params = f.params;
    b.dparams = {dparams, f.params.size()};
    b.prepared = prepared.data();
    b.scratch = scratch.data();
    s.layer->backward(b);
    first += count;
  }
  return r;
}

/// Whether got = expected up to the rounding of a sum of `k` products of values below 1.
bool close(real got, double expected, int64_t k) {
  const double unit = std::numeric_limits<real>::epsilon() * static_cast<double>(k + 1);
  return std::abs(got - expected) < unit;
}

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0;
}

const std::vector<std::pair<std::string, Shape>> kSubjects = {{"linear out=10", {1, 1, 64}},
                                                              {"linear out=7 bias=0", {3, 2, 5}},
                                                              {"linear out=37", {1, 1, 33}},
                                                              {"linear out=100 bias=0", {1, 1, 19}},
                                                              {"linear out=1", {1, 1, 1}}};

}  // namespace

TEST_CASE("linear computes what its definition says, forward and backward") {
  for (const auto& [spec, shape] : kSubjects)
    for (const bool add : {false, true}) {
      CAPTURE(spec);
      const int samples = 5;
      const Subject s = make_subject(spec, shape, samples);
      const Results r = run(s, {samples}, add);
      int wrong = 0;
      std::vector<double> dw(r.dw.size(), 1), db(r.db.size(), 1);
      for (int64_t n = 0; n < samples; ++n) {
        const real *x = &s.x[static_cast<size_t>(n * s.in)], *dy = &s.dy[static_cast<size_t>(n * s.out)];
        const auto w = [&](int64_t i, int64_t o) { return double{s.w[static_cast<size_t>(i * s.out + o)]}; };
        for (int64_t o = 0; o < s.out; ++o) {
          double y = s.has_bias ? s.b[static_cast<size_t>(o)] : 0;
          for (int64_t i = 0; i < s.in; ++i) y += x[i] * w(i, o);
          wrong += !close(r.y[static_cast<size_t>(n * s.out + o)], y, s.in);
          db[static_cast<size_t>(o)] += dy[o];
        }
        for (int64_t i = 0; i < s.in; ++i) {
          double dx = add ? s.old_dx[static_cast<size_t>(n * s.in + i)] : 0;
          for (int64_t o = 0; o < s.out; ++o) {
            dx += dy[o] * w(i, o);
            dw[static_cast<size_t>(i * s.out + o)] += double{x[i]} * dy[o];
          }
          wrong += !close(r.dx[static_cast<size_t>(n * s.in + i)], dx, s.out);
        }
      }
      for (size_t i = 0; i < dw.size(); ++i) wrong += !close(r.dw[i], dw[i], samples);
      for (size_t o = 0; s.has_bias && o < db.size(); ++o) wrong += !close(r.db[o], db[o], samples);
      EXPECT(wrong == 0);
    }
}

TEST_CASE("linear gives the same bits for any split of the samples") {
  for (const auto& [spec, shape] : kSubjects) {
    CAPTURE(spec);
    const int samples = 67;  // more than one block
    const Subject s = make_subject(spec, shape, samples);
    const Results whole = run(s, {samples}, false);
    for (const std::vector<int>& split :
         {std::vector<int>{3, 64}, std::vector<int>{65, 2}, std::vector<int>(67, 1)}) {
      const Results parts = run(s, split, false);
      EXPECT(same_bits(whole.y, parts.y));
      EXPECT(same_bits(whole.dx, parts.dx));
      EXPECT(same_bits(whole.dw, parts.dw));
      EXPECT(same_bits(whole.db, parts.db));
    }
  }
}

TEST_CASE("linear: parameters, declared products, refusals") {
  const Shape in{3, 2, 5};
  const auto layer = make_layer("linear out=7", std::span(&in, 1));
  EXPECT(layer->out_shape() == Shape{1, 1, 7});
  REQUIRE(layer->params().size() == 2);
  EXPECT(layer->params()[0].dims == std::vector<int>{30, 7});  // 3 * 2 * 5 values flattened
  EXPECT(layer->params()[0].fan == 6 * 30);
  const std::vector<GemmShape> backward = layer->gemms(Phase::backward, 4, true);
  REQUIRE(backward.size() == 2);
  EXPECT(backward[0].macs() == 4 * 30 * 7);
  EXPECT(backward[1] == GemmShape{GemmShape::Kind::weight_gradient, 30, 7, 4});
  EXPECT(layer->gemms(Phase::forward, 4, true)[0] == GemmShape{GemmShape::Kind::forward, 4, 7, 30});
  DOCTEST_CHECK_THROWS_AS(make_layer("linear", std::span(&in, 1)), Error);
  DOCTEST_CHECK_THROWS_AS(make_layer("linear out=3 kernel=2", std::span(&in, 1)), Error);
}

}  // namespace mbs
