// The program as its users meet it: a process with arguments, output and an exit code. Needs MBS_PROGRAM,
// which `make run-tests` sets.
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/training/lockstep.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/program.h"
#include "tests/safetensors_file.h"

namespace mbs {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// An image folder of three classes, 16x16: flat colours with noise, so that a few steps learn something.
void make_images(const fs::path& root) {
  const auto write = [&](const std::string& part, int label, int index) {
    const std::string head = "P6\n16 16\n255\n";
    Bytes bytes(head.begin(), head.end());
    const Bytes dust =
        noise(16 * 16 * 3, static_cast<uint64_t>(label * 1000 + index + (part == "test" ? 500 : 0)));
    for (size_t i = 0; i < dust.size(); ++i)
      bytes.push_back(static_cast<uint8_t>(dust[i] / 2 + (static_cast<int>(i % 3) == label ? 127 : 0)));
    write_file(root / part / ("class" + std::to_string(label)) / (std::to_string(index) + ".ppm"), bytes);
  };
  for (int label = 0; label < 3; ++label)
    for (int i = 0; i < 20; ++i) {
      write("train", label, i);
      if (i < 5) write("test", label, i);
    }
}

std::vector<std::string> train_arguments(const std::string& out, std::vector<std::string> more = {}) {
  std::vector<std::string> all = {
      "train",     "--dataset", "folder", "--data-dir",     "images", "--image-size", "16",    "--arch",
      "small_cnn", "--norm",    "gn",     "--batch-size",   "11",     "--cores",      "2",     "--epochs",
      "12",        "--out",     out,      "--log-interval", "1",      "--progress",   "plain", "--seed",
      "5"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// Rows without what depends on the clock: the last two columns.
std::string summary_numbers(const fs::path& run_folder) {
  const Bytes bytes = read_whole(run_folder / "summary.csv");
  std::string out, line;
  for (const char c : std::string(bytes.begin(), bytes.end()) + "\n") {
    if (c != '\n') {
      line += c;
      continue;
    }
    for (int i = 0; i < 2; ++i) line.erase(std::min(line.rfind(','), line.size()));
    out += line + "\n";
    line.clear();
  }
  return out;
}

int64_t lines_of(const fs::path& path) {
  const Bytes bytes = read_whole(path);
  return std::count(bytes.begin(), bytes.end(), '\n');
}

TEST_CASE("program: a stopped and resumed run is the uninterrupted run, bit for bit") {
  if (program().empty()) return;
  const TempFolder folder;
  make_images(folder / "images");
  // 54 of 60 images train (a tenth of each class is held out): 4 batches of 11 an epoch, so step 10 is inside
  // epoch 3.
  std::vector<std::string> flags = {"--arch", "resnet8", "--buffer", "64KiB"};
  SUBCASE("as it is") {}
  SUBCASE("with standardized weights and their moving average") {
    flags.insert(flags.end(), {"--weight-standardization", "--ema", "0.9"});
  }
  const auto arguments = [&](const char* out, const char* threads) {
    std::vector<std::string> all = flags;
    all.insert(all.end(), {"--threads", threads});
    return train_arguments(out, all);
  };
  const Result whole = run(folder, arguments("runs/whole", "1"));
  REQUIRE_MESSAGE(whole.code == 0, whole.out);
  EXPECT(
      has(whole.out, {"10 images of an epoch fill no batch", "best on the validation part", "runs/whole"}));
  EXPECT(whole.out.find('\r') == std::string::npos);
  EXPECT(whole.out.find('\x1b') == std::string::npos);

  const Result stopped = run(folder, arguments("runs/stopped", "2"), "step 10 of");
  CAPTURE(stopped.out);
  REQUIRE(stopped.code == 130);
  EXPECT(has(stopped.out, {"interrupted after step", "mbs train --resume runs/stopped"}));
  // Another order, other threads, norm and ReLU apart: none is part of the result.
  const Result resumed = run(folder, {"train", "--resume", "runs/stopped", "--order", "baseline", "--threads",
                                      "1", "--fusion", "none"});
  REQUIRE_MESSAGE(resumed.code == 0, resumed.out);

  for (const char* file : {"last.safetensors", "best.safetensors"}) {
    CAPTURE(file);
    const SafeTensorsFile a = read_safetensors(folder / "runs/whole" / file),
                          b = read_safetensors(folder / "runs/stopped" / file);
    REQUIRE(a.tensors.size() == b.tensors.size());
    for (const auto& [key, tensor] : a.tensors) {
      CAPTURE(key);
      EXPECT(tensor.bytes == b.tensors.at(key).bytes);
    }
  }
  EXPECT(summary_numbers(folder / "runs/whole") == summary_numbers(folder / "runs/stopped"));
  EXPECT(lines_of(folder / "runs/whole/log.jsonl") == lines_of(folder / "runs/stopped/log.jsonl"));
  EXPECT(lines_of(folder / "runs/whole/log.jsonl") == 1 + 48 + 12 + 1);  // header, steps, epochs, summary
}

TEST_CASE("program: a run folder repeats, is never overwritten, and refuses another network") {
  if (program().empty()) return;
  const TempFolder folder;
  make_images(folder / "images");
  const auto first = train_arguments("runs/a", {"--epochs", "1"});
  REQUIRE(run(folder, first).code == 0);
  for (const char* file :
       {"config.toml", "plan.json", "log.jsonl", "summary.csv", "last.safetensors", "best.safetensors"})
    EXPECT(fs::exists(folder / "runs/a" / file));
  const Result again = run(folder, {"train", "--config", "runs/a/config.toml", "--out", "runs/a"});
  REQUIRE_MESSAGE(again.code == 0, again.out);
  EXPECT(fs::exists(folder / "runs/a-2"));
  EXPECT(fs::read_symlink(folder / "runs/latest") == "a-2");
  EXPECT(read_safetensors(folder / "runs/a/last.safetensors").tensors.at("conv1.weight").bytes ==
         read_safetensors(folder / "runs/a-2/last.safetensors").tensors.at("conv1.weight").bytes);

  const Result other = run(folder, {"train", "--resume", "runs/a", "--arch", "resnet8"});
  EXPECT(other.code == 2);
  EXPECT(has(other.out, {"runs/a was started with --arch small_cnn", "resnet8"}));
  const Result averaged =
      run(folder, train_arguments("runs/bn", {"--norm", "bn", "--order", "baseline", "--ema", "0.9"}));
  EXPECT(averaged.code == 2);
  EXPECT(has(averaged.out, {"--ema with --norm bn"}));
  const Result above = run(folder, train_arguments("runs/lr", {"--lr", "0.1", "--lr-min", "0.2"}));
  EXPECT(above.code == 2);
  EXPECT(has(above.out, {"--lr-min 0.2 is above --lr 0.1"}));
  const Result constant =
      run(folder, train_arguments("runs/lr", {"--lr-schedule", "constant", "--lr-min", "0.01"}));
  EXPECT(constant.code == 2);
  EXPECT(has(constant.out, {"cosine and onecycle, not for constant"}));
  // Weights of another network under this run's configuration.
  REQUIRE(run(folder, train_arguments("runs/b", {"--epochs", "1", "--gn-channels", "4"})).code == 0);
  fs::copy_file(folder / "runs/b/last.safetensors", folder / "runs/a/last.safetensors",
                fs::copy_options::overwrite_existing);
  const Result mixed = run(folder, {"train", "--resume", "runs/a", "--epochs", "2"});
  EXPECT(mixed.code == 1);
  EXPECT(has(mixed.out, {"runs/a/last.safetensors holds the weights of"}));

  const Result eval = run(folder, {"eval", "runs/b", "--split", "val", "--json"});
  REQUIRE_MESSAGE(eval.code == 0, eval.out);
  EXPECT(Json::parse(eval.out)["images"] == 6);  // a tenth of 20 images of each of 3 classes
  const Result predict = run(folder, {"predict", "runs/b", "images/test/class1/0.ppm", "--json"});
  REQUIRE_MESSAGE(predict.code == 0, predict.out);
  const Json classes = Json::parse(predict.out)[0]["classes"];
  REQUIRE(classes.size() == 3);
  const double sum = classes[0]["probability"].get<double>() + classes[1]["probability"].get<double>() +
                     classes[2]["probability"].get<double>();
  EXPECT(std::abs(sum - 1) < 1e-5);
  EXPECT(classes[0]["probability"] >= classes[1]["probability"]);
}

TEST_CASE("program: a run is fused unless told otherwise") {
  if (program().empty()) return;
  const TempFolder folder;
  const auto plan_of = [&](const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "train", "--dataset",     "synthetic", "--arch",   "resnet8", "--steps",
        "1",     "--cores",       "1",         "--buffer", "512KiB",  "--batch-size",
        "6",     "--limit-train", "12",        "--out",    out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = run(folder, arguments);
    REQUIRE_MESSAGE(result.code == 0, result.out);
    const Bytes text = read_whole(folder / out / "plan.json");
    return Json::parse(text.begin(), text.end());
  };
  const Json fused = plan_of("a", {}), apart = plan_of("b", {"--fusion", "none"}),
             paper = plan_of("c", {"--accounting", "paper"}),
             both = plan_of("d", {"--accounting", "paper", "--fusion", "norm-relu"});
  EXPECT(fused["fused"] == true);
  EXPECT(fused["accounting"] == "fused");
  EXPECT(apart["fused"] == false);
  EXPECT(apart["accounting"] == "fused,fusion=none");
  EXPECT(apart["passes"] != fused["passes"]);
  EXPECT(paper["fused"] == false);
  EXPECT(both["fused"] == true);
  EXPECT(both["space"] == "in-place");
}

TEST_CASE("program: exit codes") {
  if (program().empty()) return;
  const TempFolder folder;
  make_images(folder / "images");
  EXPECT(run(folder, {}).code == 0);
  EXPECT(run(folder, {"train", "--epoch", "1"}).code == 2);
  EXPECT(
      run(folder, train_arguments("runs/t", {"--epochs", "1", "--lr", "0", "--target-acc", "0.99"})).code ==
      3);
  const auto fails = [&](std::vector<std::string> more, int code, std::initializer_list<const char*> says) {
    const Result result = run(folder, train_arguments("runs/x", std::move(more)));
    CAPTURE(result.out);
    EXPECT(result.code == code);
    EXPECT(has(result.out, says));
  };
  fails({"--batch-size", "1"}, 2, {"batch of 1", "2 cores", "--cores 1"});
  fails({"--batch-size", "1000"}, 2, {"54 training images", "--batch-size 54"});
  fails({"--buffer", "1KiB"}, 1, {"buffer"});
  fails({"--norm", "bn", "--buffer", "16KiB"}, 1, {"--norm gn"});  // one sample needs more than half of it
  fails({"--fusion", "all"}, 2, {"--fusion is 'all'", "none, norm-relu"});
  fails({"--order", "mbs3"}, 2, {"mbs3", "mbs-fs"});
  fails({"--arch", "resnet21"}, 2, {"resnet21", "resnet20"});
  fails({"--dataset", "mnist"}, 2, {"mnist", "fashion-mnist"});
  // Each step multiplies the weights by 1 - 1000 * 0.9: beyond any float or double within the 48 steps.
  fails({"--lr", "1000", "--weight-decay", "0.9", "--lr-schedule", "constant", "--warmup", "0"}, 1,
        {"not finite"});
  write_file(folder / "images/train/class0/broken.png", {1, 2, 3});
  fails({}, 1, {"broken.png"});
  fails({"--data-dir", "nowhere"}, 1, {"nowhere"});
}

TEST_CASE("program: help, version and completion follow from the list of commands") {
  if (program().empty()) return;
  const TempFolder folder;
  const Result overview = run(folder, {"--help"}), group = run(folder, {"bench"});
  for (const CommandEntry* entry : command_registry()) {
    EXPECT(has(overview.out, {("\n  " + entry->name() + " ").c_str(), entry->summary}));
    EXPECT(has(group.out, entry->summary) == entry->name().starts_with("bench "));
  }
  EXPECT(has(run(folder, {"bench", "stpe"}).out, {"'stpe'", "nearest is step"}));
  EXPECT(run(folder, {"--version"}).out.starts_with("mbs "));
  for (const char* shell : {"bash", "zsh", "fish"})
    EXPECT(has(run(folder, {"completion", shell}).out, {"simulate", "label-smoothing", "gn bn"}));
  if (std::system("command -v bash >/dev/null") != 0) return;
  const auto completed = [&](const std::string& words, int cursor) {
    const std::string script =
        run(folder, {"completion", "bash"}).out +
        fmt::format("COMP_WORDS=({}) COMP_CWORD={}\n_mbs\necho \"${{COMPREPLY[*]}}\"\n", words, cursor);
    write_file(folder / "complete.sh", {script.begin(), script.end()});
    std::FILE* pipe = ::popen(fmt::format("bash '{}'", (folder / "complete.sh").string()).c_str(), "r");
    std::string out;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) out += static_cast<char>(c);
    EXPECT(::pclose(pipe) == 0);
    return out;
  };
  EXPECT(completed("mbs pr", 1) == "predict\n");
  EXPECT(completed("mbs bench ''", 2) == "machine kernels step --help\n");
  EXPECT(completed("mbs bench step --pro", 3) == "--profile --progress\n");
  EXPECT(completed("mbs train --norm ''", 3) == "gn bn\n");
}

TEST_CASE("program: plan prints the fields that other programs read") {
  if (program().empty()) return;
  const TempFolder folder;
  const Result result = run(folder, {"plan", "resnet20", "--order", "mbs2", "--batch-size", "30", "--cores",
                                     "4", "--buffer", "256KiB", "--json"});
  REQUIRE_MESSAGE(result.code == 0, result.out);
  const Json plan = Json::parse(result.out);
  EXPECT(plan["network"] == "resnet20");
  EXPECT(plan["order"] == "mbs2");
  EXPECT(plan["batch_size"] == 8);  // the largest share of 30 over 4 cores
  EXPECT(plan["buffer_bytes"] == 256 << 10);
  EXPECT(plan["accounting"] == "paper");
  EXPECT(plan["dram_bytes_per_step"] > 0);
  int blocks = 0;
  for (const Json& group : plan["groups"]) {
    EXPECT(group["first"] == blocks);
    blocks = group["last"].get<int>() + 1;
    EXPECT(group["sub_batch"].get<int>() * group["footprint_bytes_per_sample"].get<int64_t>() <= 256 << 10);
    EXPECT(group["iterations"] == (8 + group["sub_batch"].get<int>() - 1) / group["sub_batch"].get<int>());
    EXPECT(group["weight_bytes"] >= 0);
    EXPECT(group["blocks"].size() ==
           static_cast<size_t>(group["last"].get<int>() - group["first"].get<int>() + 1));
  }
  EXPECT(has(run(folder, {"plan", "resnet20"}).out, {"sub-batch", "DRAM bytes", "stored_features"}));
}

TEST_CASE("program: compare says identical, and prints the fields that other programs read") {
  if (program().empty()) return;
  const TempFolder folder;
  make_images(folder / "images");
  const Result result =
      run(folder, {"compare",  "--dataset", "folder",    "--data-dir",   "images",   "--image-size",
                   "16",       "--arch",    "small_cnn", "--batch-size", "10",       "--cores",
                   "2",        "--steps",   "4",         "--with-bn",    "--orders", "baseline,mbs-fs,mbs2",
                   "--buffer", "128KiB",    "--json"},
          "", /*with_errors=*/false);
  REQUIRE_MESSAGE(result.code == 0, result.out);
  const Json json = Json::parse(result.out);
  EXPECT(json["identical"] == true);
  REQUIRE(json["runs"].size() == 4);
  EXPECT(json["runs"][3]["order"] == "baseline-bn");
  for (const Json& one : json["runs"]) {
    EXPECT(one["losses"].size() == 4);
    EXPECT(one["seconds_per_step"] > 0);
    EXPECT(one["images_per_second"] > 0);
    EXPECT(one["peak_rss_bytes"] > 0);
    int64_t sum = 0;
    for (const auto& [name, bytes] : one["dram_bytes_by_class"].items()) sum += bytes.get<int64_t>();
    EXPECT(sum == one["dram_bytes_per_step"].get<int64_t>());
  }
  const Json &baseline = json["runs"][0], &serialized = json["runs"][2], &bn = json["runs"][3];
  EXPECT(baseline["weights_hash"] == serialized["weights_hash"]);
  EXPECT(baseline["losses"] == serialized["losses"]);
  EXPECT(bn["weights_hash"] != baseline["weights_hash"]);
  EXPECT(serialized["dram_bytes_per_step"] < baseline["dram_bytes_per_step"]);

  const Result refused =
      run(folder, {"compare", "--dataset", "folder", "--data-dir", "nowhere", "--orders", "baseline,mbs2"});
  EXPECT(refused.code == 1);
  EXPECT(has(refused.out, {"nowhere"}));
}

namespace {

Json last_line(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line, last;
  while (std::getline(in, line)) last = line;
  return Json::parse(last);
}

#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
TEST_CASE("program: a run needs the memory of its steps, and little for checkpoints and evaluation") {
  if (program().empty()) return;
  const TempFolder folder;
  // 11 million weights: a second copy of them would be 8 % of it.
  const std::vector<std::string> network = {"--image-size", "64", "--batch-size", "8", "--cores", "2"};
  const auto peak = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), network.begin(), network.end());
    const Result result = run(folder, arguments, "", /*with_errors=*/false);
    REQUIRE_MESSAGE(result.code == 0, result.out);
    const Json row =
        arguments[0] == "train" ? last_line(folder / "run/log.jsonl") : Json::parse(result.out)["rows"][0];
    return row["peak_rss_bytes"].get<double>();
  };
  const double steps =
      peak({"bench", "step", "resnet18", "--orders", "mbs2", "--rounds", "1", "--steps", "1", "--json"});
  const double training =
      peak({"train", "--dataset", "synthetic", "--arch", "resnet18", "--order", "mbs2", "--limit-train", "16",
            "--val-share", "0.5", "--steps", "1", "--warmup", "0", "--no-mirror", "--out", "run"});
  EXPECT(training < 1.05 * steps);
}
#endif

}  // namespace

TEST_CASE("program: a run is modelled as mbs simulate models the same step") {
  if (program().empty()) return;
  const TempFolder folder;
  const std::vector<std::pair<std::string, std::string>> orders = {
      {"baseline", "ArchOpt"}, {"il", "IL"},     {"mbs-fs", "MBS-FS"},
      {"mbs1", "MBS1"},        {"mbs2", "MBS2"}, {"mbs-r", "MBS-R"}};
  for (const std::string accounting : {"paper", "fused,feature-bits=32"}) {
    for (const auto& [order, configuration] : orders) {
      CAPTURE(accounting);
      CAPTURE(order);
      const std::string out = order + accounting;
      const Result trained =
          run(folder, {"train",  "--dataset",    "synthetic", "--arch",        "resnet8", "--batch-size",
                       "6",      "--cores",      "2",         "--limit-train", "12",      "--steps",
                       "1",      "--warmup",     "0",         "--order",       order,     "--buffer",
                       "512KiB", "--accounting", accounting,  "--out",         out});
      REQUIRE_MESSAGE(trained.code == 0, trained.out);
      const Json log = last_line(folder / out / "log.jsonl");
      const Result simulated =
          run(folder,
              {"simulate", "resnet8", "--configuration", configuration, "--batch-size", "3", "--chip-cores",
               "2", "--buffer", "512KiB", "--accounting", accounting, "--json"},
              "", /*with_errors=*/false);
      REQUIRE_MESSAGE(simulated.code == 0, simulated.out);
      const Json row = Json::parse(simulated.out)[0];
      EXPECT(row["dram_bytes"] == log["dram_bytes_per_step"]);
      EXPECT(row["dram_bytes_by_class"] == log["dram_bytes_by_class"]);
      EXPECT(row["step_seconds"].get<double>() ==
             doctest::Approx(log["modelled_step_seconds"].get<double>()));
      for (const auto& [part, joules] : row["energy_joules"].items())
        EXPECT(joules.get<double>() == doctest::Approx(log["modelled_energy_joules"][part].get<double>()));
    }
  }
}

TEST_CASE("compare: one flipped bit is a difference") {
  Bytes a = noise(1001, 1), b = a, c = a;
  const auto verdict_of = [&] {
    const std::span<const std::byte> all[] = {std::as_bytes(std::span(a)), std::as_bytes(std::span(b)),
                                              std::as_bytes(std::span(c))};
    return first_different(all);
  };
  EXPECT(verdict_of() == -1);
  c[1000] ^= 1;
  EXPECT(verdict_of() == 2);
  b[0] ^= 0x80;
  EXPECT(verdict_of() == 1);
  b = a;
  c = a;
  c.pop_back();
  EXPECT(verdict_of() == 2);
}

TEST_CASE("program: info and data") {
  if (program().empty()) return;
  const TempFolder folder;
  make_images(folder / "images");
  const Json info = Json::parse(run(folder, {"info", "--json"}).out);
  EXPECT(info["hardware_threads"] >= 1);
  EXPECT(info["blas"].get<std::string>().find("OpenBLAS") != std::string::npos);
  const Json list = Json::parse(run(folder, {"data", "list", "--json"}).out);
  EXPECT(list.size() >= 5);
  const Result check =
      run(folder, {"data", "check", "folder", "--data-dir", "images", "--image-size", "16", "--json"});
  REQUIRE_MESSAGE(check.code == 0, check.out);
  const Json report = Json::parse(check.out);
  EXPECT(report["train"]["class_counts"] == Json({20, 20, 20}));
  EXPECT(report["test"]["images"] == 15);
  EXPECT(report["train"]["duplicates"] == 0);
  EXPECT(has(run(folder, {"data", "check", "folder", "--data-dir", "images"}).out, {"class2", "deviation"}));
}

}  // namespace
}  // namespace mbs
