// SPDX-License-Identifier: Apache-2.0
#include "repository/repository.h"

#include "core/suggest.h"
#include "repository/read_file.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

namespace takt::repository {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNameLengthMax = 128;

std::unexpected<Error> refuse(const fs::path& place, const std::string& message) {
  return fail(ErrorKind::invalid_input, place.string() + ": " + message);
}

// Sorted names of the folders in `folder`, hidden ones left out.
Result<std::vector<std::string>> subfolders(const fs::path& folder, std::size_t count_max,
                                            std::string_view what) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    std::string name = entry->path().filename().string();
    if (name.starts_with('.') || !entry->is_directory(unreadable)) continue;
    if (names.size() == count_max) {
      return refuse(folder, "more than " + std::to_string(count_max) + " " + std::string(what));
    }
    names.push_back(std::move(name));
  }
  if (error) return refuse(folder, "can't be read: " + error.message());
  std::ranges::sort(names);
  return names;
}

// A version folder is a number without leading zeros, as Triton wants it; others are passed over.
std::optional<std::int64_t> parse_version(std::string_view name) {
  std::int64_t version = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
  const bool whole = error == std::errc() && end == name.data() + name.size();
  if (!whole || version < 1 || name.front() == '0') return std::nullopt;
  return version;
}

std::string listed(const std::vector<std::int64_t>& versions) {
  std::string text;
  for (const std::int64_t version : versions) {
    if (!text.empty()) text += ", ";
    text += std::to_string(version);
  }
  return text.empty() ? "none" : text;
}

// Splits `versions` (rising) into those that the policy serves and the rest.
Result<std::vector<std::int64_t>> choose(const VersionPolicy& policy,
                                         const std::vector<std::int64_t>& versions,
                                         const fs::path& config_path) {
  if (policy.kind == VersionPolicy::Kind::all) return versions;
  if (policy.kind == VersionPolicy::Kind::latest) {
    const auto count = std::min(static_cast<std::size_t>(policy.num_versions), versions.size());
    return std::vector<std::int64_t>(versions.end() - static_cast<std::ptrdiff_t>(count),
                                     versions.end());
  }
  std::vector<std::int64_t> chosen = policy.versions;
  std::ranges::sort(chosen);
  const auto repeated = std::ranges::unique(chosen);
  chosen.erase(repeated.begin(), repeated.end());
  for (const std::int64_t version : chosen) {
    if (std::ranges::binary_search(versions, version)) continue;
    return refuse(config_path, "version_policy.specific.versions: " + std::to_string(version) +
                                   ", but the folder holds " + listed(versions));
  }
  return chosen;
}

Signature make_signature(const ModelConfig& config) {
  Signature signature;
  signature.batch_max = config.max_batch_size.value_or(0);
  for (const TensorConfig& input : config.inputs) {
    signature.inputs.push_back({input.name, input.type, input.dims});
  }
  for (const TensorConfig& output : config.outputs) {
    signature.outputs.push_back({output.name, output.type, output.dims});
  }
  return signature;
}

Result<ModelVersion> read_version(const fs::path& folder, const std::string& name,
                                  std::int64_t version, const ModelConfig& config,
                                  const std::string& where, const ScanOptions& options) {
  ModelVersion result;
  result.name = name;
  result.version = version;
  result.onnx_path = folder / config.model_filename;
  result.reference_path = folder / "reference";
  Result<OnnxModel> onnx = read_onnx(result.onnx_path, options.limits);
  if (!onnx) return std::unexpected(std::move(onnx).error());
  result.onnx = std::move(*onnx);
  Result<ModelConfig> completed = complete_config(
      config, result.onnx, where.empty() ? result.onnx_path.string() : where, options);
  if (!completed) {
    return std::unexpected(
        std::move(completed).error().within(name + " version " + std::to_string(version)));
  }
  result.config = std::move(*completed);
  result.config.name = name;
  result.signature = make_signature(result.config);
  return result;
}

bool has_config(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.pbtxt", error) || error;
}

// Numbers among the folders' names; the others become notes.
std::vector<std::int64_t> numbered(const std::vector<std::string>& folders,
                                   std::vector<std::string>& notes) {
  std::vector<std::int64_t> versions;
  for (const std::string& folder : folders) {
    if (const std::optional<std::int64_t> version = parse_version(folder)) {
      versions.push_back(*version);
    } else {
      notes.push_back("folder '" + printable(folder) +
                      "' is no version (a number from 1, without leading zeros)");
    }
  }
  std::ranges::sort(versions);
  return versions;
}

// A class a line. Nothing: the file can't be read, or is too large to be one.
std::optional<std::vector<std::string>> read_labels(const fs::path& file) {
  constexpr std::uintmax_t kBytesMax = std::uintmax_t{4} << 20;
  std::error_code error;
  if (!fs::is_regular_file(file, error) || fs::file_size(file, error) > kBytesMax || error) {
    return std::nullopt;
  }
  std::ifstream in(file);
  std::vector<std::string> labels;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    labels.push_back(std::move(line));
  }
  if (!in.eof()) return std::nullopt;
  return labels;
}

// Without them the classes of an output have numbers alone.
void find_labels(const fs::path& folder, ListedModel& model) {
  for (TensorConfig& output : model.config.outputs) {
    if (output.label_filename.empty()) continue;
    if (auto labels = read_labels(folder / output.label_filename)) {
      output.labels = std::move(*labels);
    } else {
      model.notes.push_back("output '" + printable(output.name) + "': its label_filename '" +
                            printable(output.label_filename) + "' can't be read");
    }
  }
}

// What concerns every version; the first error becomes the status.
Result<void> read_listing(const fs::path& folder, ListedModel& model, const ScanOptions& options) {
  if (Result<void> name = check_model_name(model.name); !name) {
    return std::unexpected(name.error().within(folder.parent_path().string()));
  }
  const fs::path config_path = folder / "config.pbtxt";
  ModelConfig& config = model.config;
  if (has_config(folder)) {
    Result<ModelConfig> read = read_model_config(config_path, options.limits);
    if (!read) return std::unexpected(std::move(read).error());
    config = std::move(*read);
    if (!config.name.empty() && config.name != model.name) {
      return refuse(config_path, "name: '" + printable(config.name) + "', but the folder is '" +
                                     model.name + "'; make them the same or remove the field");
    }
    for (const std::string& field : config.ignored_fields) {
      model.notes.push_back("config.pbtxt: " + field + " has no effect");
    }
    find_labels(folder, model);
  }
  Result<std::vector<std::string>> folders =
      subfolders(folder, options.limits.versions_max, "versions");
  if (!folders) return std::unexpected(std::move(folders).error());
  const std::vector<std::int64_t> versions = numbered(*folders, model.notes);
  if (versions.empty()) {
    return refuse(folder, "no version; expected " + model.name + "/1/" + config.model_filename);
  }
  Result<std::vector<std::int64_t>> chosen = choose(config.version_policy, versions, config_path);
  if (!chosen) return std::unexpected(std::move(chosen).error());
  std::ranges::set_difference(versions, *chosen, std::back_inserter(model.not_served));
  model.versions = std::move(*chosen);
  config.name = model.name;
  return {};
}

ListedModel list_folder(const fs::path& root, std::string name, const ScanOptions& options) {
  ListedModel model;
  model.name = std::move(name);
  model.status = read_listing(root / model.name, model, options);
  return model;
}

ScannedModel read_folder(const fs::path& root, std::string name, const ScanOptions& options) {
  ListedModel listing = list_folder(root, std::move(name), options);
  const fs::path folder = root / listing.name;
  const std::string where = has_config(folder) ? (folder / "config.pbtxt").string() : "";
  ScannedModel model{std::move(listing.name),
                     std::move(listing.status),
                     {},
                     std::move(listing.not_served),
                     std::move(listing.notes)};
  for (const std::int64_t version : listing.versions) {
    model.versions.push_back({version, read_version(folder / std::to_string(version), model.name,
                                                    version, listing.config, where, options)});
  }
  return model;
}

Result<std::vector<std::string>> model_names(const fs::path& root, const ScanOptions& options) {
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    return refuse(root, "no such folder; expected a model repository, NAME/VERSION/model.onnx");
  }
  return subfolders(root, options.limits.models_max, "models");
}

// Whether there is a model of that name.
Result<void> check_model(const fs::path& root, std::string_view name, const ScanOptions& options) {
  if (Result<void> checked = check_model_name(name); !checked) return checked;
  const Result<std::vector<std::string>> names = model_names(root, options);
  if (!names) return std::unexpected(names.error());
  if (std::ranges::binary_search(*names, name)) return {};
  return refuse(root, "no model '" + std::string(name) + "'" + suggestion(name, *names));
}

}  // namespace

Result<void> check_model_name(std::string_view name) {
  const bool printable_only = std::ranges::all_of(
      name, [](unsigned char c) { return c >= 0x20 && c != 0x7F && c != '/' && c != '\\'; });
  if (!name.empty() && name.size() <= kNameLengthMax && name.front() != '.' && printable_only) {
    return {};
  }
  return fail(ErrorKind::invalid_input,
              "bad model name '" + printable(name) + "': expected 1 to " +
                  std::to_string(kNameLengthMax) +
                  " printable characters, no '/', no '\\', not starting with '.'");
}

Result<std::vector<ScannedModel>> scan(const fs::path& root, const ScanOptions& options) {
  Result<std::vector<std::string>> names = model_names(root, options);
  if (!names) return std::unexpected(std::move(names).error());
  std::vector<ScannedModel> models;
  for (std::string& name : *names) models.push_back(read_folder(root, std::move(name), options));
  return models;
}

Result<ScannedModel> scan_model(const fs::path& root, std::string_view name,
                                const ScanOptions& options) {
  if (Result<void> found = check_model(root, name, options); !found) {
    return std::unexpected(std::move(found).error());
  }
  return read_folder(root, std::string(name), options);
}

Result<std::vector<ListedModel>> list(const fs::path& root, const ScanOptions& options) {
  Result<std::vector<std::string>> names = model_names(root, options);
  if (!names) return std::unexpected(std::move(names).error());
  std::vector<ListedModel> models;
  for (std::string& name : *names) models.push_back(list_folder(root, std::move(name), options));
  return models;
}

Result<ListedModel> list_model(const fs::path& root, std::string_view name,
                               const ScanOptions& options) {
  if (Result<void> found = check_model(root, name, options); !found) {
    return std::unexpected(std::move(found).error());
  }
  return list_folder(root, std::string(name), options);
}

ModelConfig complete_config(ModelConfig config, const Signature& signature) {
  const auto complete = [](std::vector<TensorConfig>& tensors,
                           const std::vector<TensorSpec>& specs) {
    std::vector<TensorConfig> made;
    for (const TensorSpec& spec : specs) {
      const auto stated = std::ranges::find(tensors, spec.name, &TensorConfig::name);
      made.push_back(stated != tensors.end() ? *stated : TensorConfig{});
      made.back().name = spec.name;
      made.back().type = spec.type;
      made.back().dims = spec.shape;
    }
    tensors = std::move(made);
  };
  config.max_batch_size = signature.batch_max;
  complete(config.inputs, signature.inputs);
  complete(config.outputs, signature.outputs);
  return config;
}

Result<ModelVersion> find_version(std::span<const ScannedModel> models, std::string_view name,
                                  std::optional<std::int64_t> version) {
  const auto model = std::ranges::find(models, name, &ScannedModel::name);
  if (model == models.end()) {
    std::vector<std::string> names;
    for (const ScannedModel& known : models) names.push_back(known.name);
    return fail(ErrorKind::invalid_input,
                "no model '" + printable(name) + "' in the repository" + suggestion(name, names));
  }
  if (!model->status) return std::unexpected(model->status.error());
  if (!version) return model->versions.back().result;
  const auto found = std::ranges::find(model->versions, *version, &ScannedVersion::version);
  if (found != model->versions.end()) return found->result;
  std::vector<std::int64_t> served;
  for (const ScannedVersion& known : model->versions) served.push_back(known.version);
  const bool on_disk = std::ranges::find(model->not_served, *version) != model->not_served.end();
  return fail(ErrorKind::invalid_input,
              "model '" + model->name + "' has no version " + std::to_string(*version) +
                  (on_disk ? " that version_policy in its config.pbtxt serves" : "") +
                  "; served: " + listed(served));
}

}  // namespace takt::repository
