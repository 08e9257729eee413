// SPDX-License-Identifier: Apache-2.0
// takt-cuda-networks FOLDER|FILE.onnx...: whole networks on the CPU. Each file is imported and lowered at batches 1
// and 2 in FP32 and FP16, and there is a kernel for each step. Where NAME.json of tests/models/export_zoo.py stands
// beside NAME.onnx, the FP32 program is run by host_run.h and compared with the reference. A line a file, then a
// summary; exit code 1 where a file failed.
#include "backend/cuda/compile/host_run.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/kernels/step_code.h"
#include "graph/import.h"
#include "graph/simplify.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

namespace fs = std::filesystem;
using graph::Constant;
using Json = nlohmann::json;

// FP32 sums in another order differ by less.
constexpr double kCosineMin = 0.99999;

struct Outcome {
  std::size_t steps = 0;         // of batch 1 in FP32
  std::optional<double> cosine;  // the least of the outputs; none: there is no reference
};

Result<Program> lowered(const fs::path& file, const graph::ImportOptions& options,
                        Precision precision) {
  const Result<graph::Graph> imported = graph::import_onnx_file(file, options);
  if (!imported) return std::unexpected(imported.error());
  const Result<graph::Graph> simplified = graph::simplify(*imported);
  if (!simplified) return std::unexpected(simplified.error());
  Result<Program> program =
      lower(*simplified, {.precision = precision, .inputs_made_on_device = {}});
  if (!program) return program;
  for (const Step& step : program->steps) {
    const Result<StepCode> code = step_code(step, "any");
    if (!code) return std::unexpected(code.error().within(step.name));
  }
  return program;
}

// As the reference writes it: row by row, little-endian. Errors: invalid_input.
Result<Constant> read_tensor(const fs::path& folder, const Json& tensor) {
  const Result<DataType> type = parse_data_type(tensor.at("type").get<std::string>());
  if (!type) return std::unexpected(type.error());
  Constant constant{{*type, tensor.at("shape").get<Shape>()}, {}};
  const fs::path path = folder / tensor.at("file").get<std::string>();
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Result<std::size_t> bytes = byte_size(constant.type.type, constant.type.shape);
  if (!bytes) return std::unexpected(bytes.error());
  if (text.size() != *bytes) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{}: {} bytes, but {} has {}; write the networks again", path.string(),
                            text.size(), graph::to_string(constant.type), *bytes));
  }
  constant.bytes.resize(*bytes);
  std::memcpy(constant.bytes.data(), text.data(), text.size());
  return constant;
}

Result<std::vector<float>> floats_of(const Constant& constant) {
  const std::array<const Constant*, 1> inputs{&constant};
  const auto made = graph::evaluate(graph::Cast{DataType::fp32}, inputs);
  if (!made) return std::unexpected(made.error());
  std::vector<float> numbers(made->front().bytes.size() / sizeof(float));
  std::memcpy(numbers.data(), made->front().bytes.data(), made->front().bytes.size());
  return numbers;
}

// NaN where an output has one; 1 where both are 0 throughout.
double cosine(std::span<const float> a, std::span<const float> b) {
  double product = 0;
  double a_squares = 0;
  double b_squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += static_cast<double>(a[i]) * b[i];
    a_squares += static_cast<double>(a[i]) * a[i];
    b_squares += static_cast<double>(b[i]) * b[i];
  }
  if (a_squares == 0 && b_squares == 0) return 1;
  return product / std::sqrt(a_squares * b_squares);
}

// Errors: another type or shape than the reference has, or a cosine below kCosineMin.
Result<double> compare(const Constant& actual, const Constant& expected, const std::string& name) {
  if (actual.type != expected.type) {
    return fail(ErrorKind::invalid_input,
                fmt::format("output '{}' is {}, but the reference {}", name,
                            graph::to_string(actual.type), graph::to_string(expected.type)));
  }
  const Result<std::vector<float>> a = floats_of(actual);
  const Result<std::vector<float>> b = floats_of(expected);
  if (!a || !b) return std::unexpected((a ? b : a).error());
  const double found = cosine(*a, *b);
  if (found >= kCosineMin) return found;
  return fail(ErrorKind::invalid_input,
              fmt::format("output '{}': cosine {:.7f} to the reference, expected {} or more", name,
                          found, kCosineMin));
}

Result<double> run_beside(const fs::path& file, const Json& reference) {
  graph::ImportOptions options;
  std::vector<Constant> inputs;
  for (const Json& tensor : reference.at("inputs")) {
    Result<Constant> read = read_tensor(file.parent_path(), tensor);
    if (!read) return std::unexpected(std::move(read).error());
    options.input_shapes[tensor.at("name").get<std::string>()] = read->type.shape;
    inputs.push_back(*std::move(read));
  }
  const Result<Program> program = lowered(file, options, Precision::fp32);
  if (!program) return std::unexpected(program.error());
  const Result<std::vector<Constant>> results = run_on_host(*program, inputs);
  if (!results) return std::unexpected(results.error());
  const Json& outputs = reference.at("outputs");
  if (outputs.size() != results->size()) {
    return fail(ErrorKind::invalid_input, fmt::format("{} outputs, but the reference has {}",
                                                      results->size(), outputs.size()));
  }
  double least = 1;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Result<Constant> expected = read_tensor(file.parent_path(), outputs[i]);
    if (!expected) return std::unexpected(expected.error());
    const auto name = outputs[i].at("name").get<std::string>();
    const Result<double> found = compare((*results)[i], *expected, name);
    if (!found) return found;
    least = std::min(least, *found);
  }
  return least;
}

Result<Outcome> check(const fs::path& file) {
  Outcome outcome;
  for (const std::int64_t batch : {1, 2}) {
    graph::ImportOptions options;
    options.batch = batch;
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      const Result<Program> program = lowered(file, options, precision);
      if (!program) {
        return std::unexpected(
            program.error().within(fmt::format("batch {}, {}", batch, to_string(precision))));
      }
      if (batch == 1 && precision == Precision::fp32) outcome.steps = program->steps.size();
    }
  }
  std::ifstream json(fs::path(file).replace_extension(".json"));
  if (!json.is_open()) return outcome;
  const Result<double> found = run_beside(file, Json::parse(json));
  if (!found) return std::unexpected(found.error());
  outcome.cosine = *found;
  return outcome;
}

std::vector<fs::path> files_of(std::span<char* const> arguments) {
  std::vector<fs::path> files;
  for (const fs::path argument : arguments) {
    if (!fs::is_directory(argument)) {
      files.push_back(argument);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(argument)) {
      if (entry.path().extension() == ".onnx") files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

int run(std::span<char* const> arguments) {
  const std::vector<fs::path> files = files_of(arguments);
  if (files.empty()) {
    fmt::print(stderr, "usage: takt-cuda-networks FOLDER|FILE.onnx...\n");
    return 2;
  }
  std::size_t failed = 0;
  std::size_t compared = 0;
  for (const fs::path& file : files) {
    const Result<Outcome> outcome = check(file);
    const std::string name = file.stem().string();
    if (!outcome) {
      ++failed;
      fmt::print("{}: FAILED: {}\n", name, outcome.error().message);
    } else if (outcome->cosine) {
      ++compared;
      fmt::print("{}: {} steps, cosine {:.7f}\n", name, outcome->steps, *outcome->cosine);
    } else {
      fmt::print("{}: {} steps\n", name, outcome->steps);
    }
    std::fflush(stdout);
  }
  fmt::print("{} networks, {} compared, {} failed\n", files.size(), compared, failed);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace takt::cuda

int main(int argc, char** argv) try {
  return takt::cuda::run(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
} catch (const std::exception& error) {  // of the reference's JSON, and of the file system
  fmt::print(stderr, "takt-cuda-networks: {}\n", error.what());
  return EXIT_FAILURE;
}
