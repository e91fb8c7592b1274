// Files that come from elsewhere: safetensors round trip, and files made to harm.
#include <cstring>
#include <fstream>

#include "engine/check.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/safetensors_file.h"

namespace mbs {
namespace {

/// A file with this header text (its length stated as `length`, or its own) and `data` bytes after it.
std::string write_raw(const TempFolder& folder, const std::string& header, size_t data, int64_t length = -1) {
  const std::string path = (folder / "raw.safetensors").string();
  std::ofstream out(path, std::ios::binary);
  const auto stated = length < 0 ? static_cast<uint64_t>(header.size()) : static_cast<uint64_t>(length);
  out.write(reinterpret_cast<const char*>(&stated), sizeof stated);
  out << header << std::string(data, '\0');
  return path;
}

std::string read_error(const std::string& path) {
  return error_of([&] { SafeTensorsReader reader(path); });
}

TEST_CASE("safetensors: what is written is read") {
  const TempFolder folder;
  const std::vector<float> a = {1.5f, -2, 3e-40f, 4, 5, 6};
  const std::vector<double> b = {0.1, -0.0, 1e300};
  SafeTensorsFile file;
  file.tensors["b.weight"] = make_tensor(a, {2, 3});
  file.tensors["a"] = make_tensor(b, {3});
  file.tensors["empty"] = make_tensor(std::vector<float>(), {0, 5});
  file.metadata["note"] = "quotes \" and \\ and \xc3\xa9";
  write_safetensors((folder / "x").string(), file);

  const SafeTensorsFile read = read_safetensors((folder / "x").string());
  EXPECT(read.tensors.size() == 3);
  EXPECT(read.tensors.at("b.weight").head.shape == std::vector<int64_t>{2, 3});
  EXPECT(read.tensors.at("b.weight").head.dtype == "F32");
  EXPECT(read.tensors.at("b.weight").bytes == file.tensors["b.weight"].bytes);
  EXPECT(read.tensors.at("a").head.dtype == "F64");
  EXPECT(read.tensors.at("a").bytes == file.tensors["a"].bytes);
  EXPECT(read.tensors.at("empty").head.elems() == 0);
  EXPECT(read.metadata.at("note") == file.metadata["note"]);
  const SafeTensorsReader reader((folder / "x").string());
  EXPECT(tensor_values(reader, "a") == b);
  std::vector<double> part(3);
  reader.read("b.weight", 2, part);
  EXPECT(part == std::vector<double>{a[2], 4, 5});
}

TEST_CASE("safetensors: half precision is widened exactly") {
  const TempFolder folder;
  const std::string path = (folder / "x").string();
  const auto values = [&](const char* dtype, const std::vector<uint16_t>& bits) {
    SafeTensorsFile file;
    FileTensor& tensor = file.tensors["x"];
    tensor = {{dtype, {static_cast<int64_t>(bits.size())}}, Bytes(2 * bits.size())};
    std::memcpy(tensor.bytes.data(), bits.data(), tensor.bytes.size());
    write_safetensors(path, file);
    return tensor_values(SafeTensorsReader(path), "x");
  };
  // IEEE 754 binary16: 1, -2, the largest 65504, the smallest normal 2^-14, the smallest at all 2^-24.
  EXPECT(values("F16", {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001}) ==
         std::vector<double>{1, -2, 65504, 0x1p-14, 0x1p-24});
  // bfloat16 is the upper half of a float: 1, -2.
  EXPECT(values("BF16", {0x3f80, 0xc000}) == std::vector<double>{1, -2});
}

TEST_CASE("safetensors: a damaged or hostile file is refused with a reason") {
  const TempFolder folder;
  const auto header = [](const char* entries) { return std::string("{") + entries + "}"; };
  const auto refused = [&](const std::string& text, size_t data, const char* reason, int64_t length = -1) {
    const std::string error = read_error(write_raw(folder, text, data, length));
    CAPTURE(text);
    CAPTURE(error);
    EXPECT(has(error, {reason}));
    EXPECT(has(error, {"raw.safetensors"}));
  };
  const char* good = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT(read_error(write_raw(folder, header(good), 8)).empty());

  refused(header(good), 7, "outside the file");                      // cut off
  refused(header(good), 9, "belong to no tensor");                   // more than is named
  refused(header(good), 8, "states a header of", int64_t{1} << 40);  // a header longer than the file
  refused(header(good), 8, "states a header of", 0);
  refused("[1]", 8, "not a safetensors file");
  refused("{\"a\":", 8, "not JSON");
  refused(
      header(
          R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})"),
      8, "'a' twice");
  refused(header(R"("a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,8]})"), 8,
          "'dtype' twice");
  refused(header(R"("a":{"dtype":"I8","shape":[8],"data_offsets":[0,8]})"), 8, "is not one of");
  refused(header(R"("a":{"dtype":7,"shape":[8],"data_offsets":[0,8]})"), 8, "is not one of");
  refused(header(R"("a":{"dtype":"F32","shape":[2]})"), 8, "data_offsets");
  refused(header(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), 8, "outside the file");
  refused(header(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,-8]})"), 8, "lists of counts");
  refused(header(R"("a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), 8, "list of counts");
  refused(header(R"("a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]})"), 8, "list of counts");
  refused(header(R"("a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), 8, "larger than the file");
  refused(header(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]})"), 8,
          "does not fit its number of bytes");
  // 2^32 * 2^32 * 4 bytes is 0 in 64 bits.
  refused(header(R"("a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), 0,
          "larger than the file");
  refused(
      header(
          R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
      4, "an overlap");
  refused(
      header(
          R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]})"),
      12, "a hole");
  refused(header(R"("__metadata__":{"x":1})"), 0, "is not a text");
  refused(
      header(R"("__metadata__":{"crc32":"00000000"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
      4, "checksum");
  EXPECT(has(read_error((folder / "absent").string()), {"cannot be opened"}));
  std::ofstream((folder / "short").string()) << "abc";
  EXPECT(has(read_error((folder / "short").string()), {"has 3 bytes"}));
}

TEST_CASE("safetensors: integers are not taken for weights, and a file that shrinks while open is refused") {
  const TempFolder folder;
  const std::string path = write_raw(
      folder,
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
      16);
  const SafeTensorsReader reader(path);
  EXPECT(tensor_values(reader, "a") == std::vector<double>{0, 0});
  EXPECT(has(error_of([&] { tensor_values(reader, "i"); }), {"I64", "no real numbers"}));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);
  EXPECT(has(error_of([&] { tensor_values(reader, "a"); }), {"raw.safetensors", "cut off"}));
}

TEST_CASE("safetensors: one changed byte of the data does not pass") {
  const TempFolder folder;
  const std::vector<float> values(13, 0.25f);
  SafeTensorsFile file;
  file.tensors["w"] = make_tensor(values, {13});
  write_safetensors((folder / "x").string(), file);
  std::fstream edit((folder / "x").string(), std::ios::in | std::ios::out | std::ios::binary);
  edit.seekp(-5, std::ios::end);
  edit.put('\1');
  edit.close();
  EXPECT(has(read_error((folder / "x").string()), {"checksum"}));
}

}  // namespace
}  // namespace mbs
