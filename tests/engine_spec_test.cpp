#include "engine/spec.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

using namespace mbs;

TEST_CASE("a layer specification is read back as it is written") {
  const Spec spec = Spec::parse("conv2d out=64 kernel=1x7 stride=2 rate=0.25");
  EXPECT(spec.layer() == "conv2d");
  EXPECT(spec.required_int("out") == 64);
  EXPECT(spec.required_extent("kernel") == Extent{1, 7});
  EXPECT(spec.extent_or("stride", {1, 1}, 1) == Extent{2, 2});
  EXPECT(spec.extent_or("pad", {3, 5}) == Extent{3, 5});
  EXPECT(spec.number_or("rate", 0, 0, 1) == 0.25);
  EXPECT(error_of([&] { spec.finish(); }).empty());
}

TEST_CASE("a wrong layer specification names the key and what is known") {
  EXPECT(has(error_of([] { Spec::parse("  "); }), "empty"));
  EXPECT(has(error_of([] { Spec::parse("relu 3"); }), "'3' is not of the form key=value"));
  EXPECT(has(error_of([] { Spec::parse("relu a=1 a=2"); }), "key 'a' is given twice"));
  EXPECT(has(error_of([] { Spec::parse("conv2d").required_int("out"); }), "key 'out' is missing"));
  EXPECT(has(error_of([] { Spec::parse("conv2d out=0").required_int("out"); }), "at least 1"));
  EXPECT(has(error_of([] { Spec::parse("conv2d out=9999999999").required_int("out"); }), "integer"));
  EXPECT(has(error_of([] { Spec::parse("c kernel=3x").required_extent("kernel"); }), "HxW"));
  EXPECT(has(error_of([] { Spec::parse("d rate=nan").number_or("rate", 0, 0, 1); }), "number in"));
  const Spec spec = Spec::parse("conv2d out=1 kernl=3");
  spec.required_int("out");
  spec.extent_or("kernel", {1, 1});
  const std::string message = error_of([&] { spec.finish(); });
  EXPECT(has(message, "unknown key 'kernl'"));
  EXPECT(has(message, "kernel, out"));
}
