// SPDX-License-Identifier: Apache-2.0
#include "repository/reference.h"

#include "repository/read_file.h"
#include "repository/tensor_proto.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <system_error>
#include <utility>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;

std::unexpected<Error> refuse(const fs::path& place, const std::string& message) {
  return fail(ErrorKind::invalid_input, place.string() + ": " + message);
}

Result<Tolerance> read_tolerance(const fs::path& file) {
  Tolerance tolerance;
  std::error_code error;
  if (!fs::exists(file, error)) return tolerance;
  constexpr std::uint64_t kBytesMax = std::uint64_t{64} * 1024;
  const Result<std::string> text = read_file(file, kBytesMax);
  if (!text) return std::unexpected(text.error());
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, false);
  const std::string expected = "expected {\"absolute\": 1e-4, \"relative\": 1e-3}";
  if (!json.is_object()) return refuse(file, "no JSON object; " + expected);
  for (const auto& [key, value] : json.items()) {
    if (key != "absolute" && key != "relative") {
      return refuse(file, "unknown field '" + printable(key) + "'; " + expected);
    }
    const double number = value.is_number() ? value.get<double>() : -1;
    if (!(number >= 0) || !std::isfinite(number)) {
      return refuse(file, key + ": expected a number, 0 or more");
    }
    (key == "absolute" ? tolerance.absolute : tolerance.relative) = number;
  }
  return tolerance;
}

// input_0.pb, input_0.pb.gz; nullopt when neither exists.
std::optional<fs::path> tensor_file(const fs::path& folder, const std::string& stem) {
  std::error_code error;
  for (const char* ending : {".pb", ".pb.gz"}) {
    if (fs::exists(folder / (stem + ending), error)) return folder / (stem + ending);
  }
  return std::nullopt;
}

// Which tensor of the signature a file means: by name, or by its number where it has none.
Result<std::size_t> match(const fs::path& file, const ReferenceTensor& tensor, std::size_t number,
                          const std::vector<TensorSpec>& specs) {
  if (tensor.name.empty()) return number;
  const auto found = std::ranges::find(specs, tensor.name, &TensorSpec::name);
  if (found == specs.end()) {
    return refuse(file, "the tensor is named '" + printable(tensor.name) +
                            "', but the model has none of that name");
  }
  return static_cast<std::size_t>(found - specs.begin());
}

// `rows` is taken from the first tensor and must hold for every other one. An input may be stored
// as UINT8 whatever the model takes: images keep a tenth of their size that way.
Result<void> check_shape(const fs::path& file, const ReferenceTensor& tensor,
                         const TensorSpec& spec, bool is_input, bool batched,
                         std::optional<std::int64_t>& rows) {
  Shape expected = spec.shape;
  if (batched) expected.insert(expected.begin(), rows.value_or(-1));
  const bool fits = std::ranges::equal(
      tensor.shape, expected,
      [](std::int64_t got, std::int64_t want) { return want == -1 || got == want; });
  const bool type_fits = tensor.type == spec.type || (is_input && tensor.type == DataType::uint8);
  if (!type_fits || !fits) {
    return refuse(file, std::string(to_string(tensor.type)) + to_string(tensor.shape) + ", but '" +
                            spec.name + "' of the model is " + std::string(to_string(spec.type)) +
                            to_string(expected));
  }
  if (batched) rows = tensor.shape.front();
  return {};
}

struct CaseReader {
  const fs::path& folder;
  bool batched;
  std::uint64_t& bytes_left;
  std::optional<std::int64_t> rows;

  [[nodiscard]] std::unexpected<Error> missing(const std::string& stem, const std::string& side,
                                               std::size_t count) const {
    return refuse(folder, "no " + stem + ".pb or " + stem + ".pb.gz; the model has " +
                              std::to_string(count) + " " + side + "s");
  }

  // Every tensor of one side, in the order of the signature.
  Result<std::vector<ReferenceTensor>> read(const std::string& side,
                                            const std::vector<TensorSpec>& specs) {
    std::vector<ReferenceTensor> tensors(specs.size());
    std::vector<bool> filled(specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const std::string stem = side + "_" + std::to_string(i);
      const std::optional<fs::path> file = tensor_file(folder, stem);
      if (!file) return missing(stem, side, specs.size());
      Result<ReferenceTensor> tensor = read_tensor_proto(*file, bytes_left);
      if (!tensor) return std::unexpected(std::move(tensor).error());
      bytes_left -= tensor->bytes.size();
      const Result<std::size_t> place = match(*file, *tensor, i, specs);
      if (!place) return std::unexpected(place.error());
      if (filled[*place]) return refuse(*file, "'" + specs[*place].name + "' is given twice");
      filled[*place] = true;
      const Result<void> shape =
          check_shape(*file, *tensor, specs[*place], side == "input", batched, rows);
      if (!shape) return std::unexpected(shape.error());
      tensor->name = specs[*place].name;
      tensors[*place] = std::move(*tensor);
    }
    const std::string next = side + "_" + std::to_string(specs.size());
    if (const std::optional<fs::path> extra = tensor_file(folder, next)) {
      return refuse(*extra,
                    "the model has only " + std::to_string(specs.size()) + " " + side + "s");
    }
    return tensors;
  }
};

Result<ReferenceCase> read_case(const fs::path& folder, const Signature& signature,
                                std::uint64_t& bytes_left) {
  ReferenceCase result;
  result.name = folder.filename().string();
  CaseReader reader{folder, signature.batch_max > 0, bytes_left, std::nullopt};
  Result<std::vector<ReferenceTensor>> inputs = reader.read("input", signature.inputs);
  if (!inputs) return std::unexpected(std::move(inputs).error());
  result.rows = reader.rows.value_or(1);
  if (signature.batch_max > 0 && (result.rows < 1 || result.rows > signature.batch_max)) {
    return refuse(folder, std::to_string(result.rows) + " rows; the model takes 1 to " +
                              std::to_string(signature.batch_max));
  }
  Result<std::vector<ReferenceTensor>> outputs = reader.read("output", signature.outputs);
  if (!outputs) return std::unexpected(std::move(outputs).error());
  result.inputs = std::move(*inputs);
  result.outputs = std::move(*outputs);
  return result;
}

}  // namespace

Result<Reference> read_reference(const fs::path& folder, const Signature& signature,
                                 const Limits& limits) {
  Reference reference;
  std::error_code error;
  if (!fs::exists(folder, error)) return reference;
  std::vector<fs::path> cases;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    if (!hidden && entry->is_directory(error)) cases.push_back(entry->path());
    if (cases.size() > limits.reference_cases_max) {
      return refuse(folder, "more than " + std::to_string(limits.reference_cases_max) + " cases");
    }
  }
  if (error) return refuse(folder, "can't be read: " + error.message());
  std::ranges::sort(cases);

  Result<Tolerance> tolerance = read_tolerance(folder / "tolerance.json");
  if (!tolerance) return std::unexpected(std::move(tolerance).error());
  reference.tolerance = *tolerance;
  std::uint64_t bytes_left = limits.reference_bytes_max;
  for (const fs::path& path : cases) {
    Result<ReferenceCase> read = read_case(path, signature, bytes_left);
    if (!read) return std::unexpected(std::move(read).error());
    reference.cases.push_back(std::move(*read));
  }
  return reference;
}

}  // namespace takt::repository
