// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include "config/device_config.h"
#include "config/line_config.h"
#include "config/reader.h"
#include "config/server_config.h"
#include "config/task_config.h"
#include "core/suggest.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace takt::config {
namespace {

constexpr std::uintmax_t kFileBytesMax = 4 << 20;

void read_models(Reader& reader, const std::filesystem::path& base, ModelsConfig& models) {
  std::string repository;
  std::string cache = "~/.cache/takt";
  reader.require("repository", "the folder with NAME/VERSION/model.onnx");
  reader.text("repository", repository);
  reader.text("cache", cache);
  models.repository = resolve(repository, base);
  if (cache != "none") models.cache = resolve(cache, base);
}

void read_pictures(Reader& reader, std::set<Verdict>& pictures) {
  if (!reader.has("pictures")) return;
  std::vector<std::string> words;
  reader.texts("pictures", words);
  pictures.clear();
  for (const std::string& word : words) {
    const Result<Verdict> verdict = parse_verdict(word);
    if (verdict) {
      pictures.insert(*verdict);
    } else {
      reader.problem("pictures", verdict.error().message);
    }
  }
}

void read_store(Reader& reader, const std::filesystem::path& base, StoreConfig& store) {
  std::string directory;
  reader.require("directory", "the folder for the database and the journal");
  reader.text("directory", directory);
  store.store.path = resolve(directory, base) / "takt.sqlite";
  store.journal.directory = resolve(directory, base) / "journal";
  read_pictures(reader, store.store.pictures);
  reader.integer("verdicts_max", store.store.verdicts_max, 1, INT64_MAX);
  reader.integer("pictures_max", store.store.pictures_max, 1, INT64_MAX);
  reader.mapping("journal", [&](Reader& journal) {
    journal.bytes("segment_bytes", store.journal.segment_bytes);
    journal.bytes("bytes_max", store.journal.bytes_max);
    journal.duration("sync_interval", store.journal.sync_interval);
    constexpr std::size_t kSegmentBytesMin = 64 << 10;
    if (store.journal.segment_bytes < kSegmentBytesMin) {
      journal.problem("segment_bytes", "expected 64KiB or more");
    }
    if (store.journal.bytes_max < 2 * store.journal.segment_bytes) {
      journal.problem("bytes_max", "expected room for two segments or more");
    }
  });
}

void read_sink(Reader& reader, const std::filesystem::path& base, std::vector<SinkConfig>& sinks) {
  SinkConfig sink;
  std::string path;
  reader.text("type", sink.type);
  if (sink.type != "jsonl") {
    reader.problem("type", "no sink '" + sink.type + "'; expected jsonl");
  }
  reader.require("path", "the file that verdicts are appended to");
  reader.text("path", path);
  sink.path = resolve(path, base);
  reader.boolean("replace", sink.replace);
  sinks.push_back(sink);
}

void read_workers(Reader& reader, const std::filesystem::path& base, WorkersConfig& workers) {
  engine::SupervisorOptions& supervisor = workers.supervisor;
  reader.duration("ready_timeout", supervisor.ready_timeout);
  reader.duration("watchdog", supervisor.watchdog);
  auto factor = static_cast<float>(supervisor.watchdog_factor);
  reader.number("watchdog_factor", factor, 1, 1e6);
  supervisor.watchdog_factor = static_cast<double>(factor);
  reader.duration("watchdog_min", supervisor.watchdog_min);
  if (supervisor.watchdog_min <= Duration{}) {
    reader.problem("watchdog_min", "expected a time above 0, such as 1s: nothing would run");
  }
  reader.duration("delay_min", supervisor.delay_min);
  reader.duration("delay_max", supervisor.delay_max);
  reader.integer("circuit_failures", supervisor.circuit_failures, 1, 1000);
  reader.duration("probe_interval", supervisor.probe_interval);
  reader.duration("stop_timeout", supervisor.stop_timeout);
  reader.duration("spin", workers.spin);
  reader.boolean("sandbox", workers.sandbox);
  reader.bytes("memory_max", workers.memory_bytes_max);
  if (!reader.has("cgroup")) return;
  std::string cgroup;
  reader.text("cgroup", cgroup);
  supervisor.memory = {resolve(cgroup, base), workers.memory_bytes_max};
  if (workers.memory_bytes_max == 0) {
    reader.problem("cgroup", "limits what each worker uses; give memory_max, such as 2GiB");
  }
}

// What refers to what: checked when every section has been read.
class References {
 public:
  References(Reader& reader, Loaded& loaded) : reader_(reader), loaded_(loaded) {
    for (const TaskSpec& task : config().tasks) task_names_.push_back(task.name);
  }

  void check() {
    for (const TaskSpec& task : config().tasks) check_task(task);
    for (const LineEntry& entry : config().lines) check_line(entry);
    if (config().lines.empty() && !config().server) {
      reader_.problem("lines", "there is no line; expected at least one, or a server");
    }
    check_devices(reader_, config());
    if (!config().store && !config().lines.empty()) {
      loaded_.warnings.push_back("store: there is none: frames of a killed process get no verdict");
    }
  }

 private:
  Config& config() { return loaded_.config; }

  void check_task(const TaskSpec& task) {
    const std::string place = "tasks." + task.name;
    if (task.crop) {
      require_task(place + ".crop.from", task.crop->from_task, task_names_);
      if (task.crop->from_task == task.name) {
        reader_.problem(place + ".crop.from", "a task can't take its crops from itself");
      }
    }
    if (!task.fallback_task.empty()) check_fallback_task(place + ".fallback", task);
    if (task.fallback == Verdict::pass) {
      loaded_.warnings.push_back(place + ".fallback: pass lets parts through that nobody judged");
    }
  }

  void check_fallback_task(const std::string& place, const TaskSpec& task) {
    require_task(place, task.fallback_task, task_names_);
    const TaskSpec* const fallback = find_task(task.fallback_task);
    if (fallback == nullptr) return;
    if (std::ranges::count(task_names_, fallback->name) > 1) {
      reader_.problem(place, "another task is named '" + fallback->name + "'; rename it");
    }
    if (const auto checked = check_fallback(task, *fallback); !checked) {
      reader_.problem(place, checked.error().message);
    }
  }

  const TaskSpec* find_task(const std::string& name) {
    const auto found = std::ranges::find(config().tasks, name, &TaskSpec::name);
    return found == config().tasks.end() ? nullptr : &*found;
  }

  void check_line(const LineEntry& entry) {
    const std::string place = "lines." + entry.line.name;
    for (const std::string& name : entry.line.tasks)
      require_task(place + ".tasks", name, task_names_);
    for (const TaskSpec& task : config().tasks) {
      if (std::ranges::find(entry.line.tasks, task.name) != entry.line.tasks.end()) {
        check_task_of_line(place, entry, task);
      }
    }
    const bool http = config().server && config().server->http_enabled;
    if (std::holds_alternative<line::RequestOptions>(entry.source) && !http) {
      reader_.problem(place + ".source", "requests come over HTTP; add a server section");
    }
    if (const auto checked = line::check(entry.line.decision, entry.line.tasks); !checked) {
      reader_.problem(place + ".decision", checked.error().message);
    }
    if (entry.line.decision.fallback == Verdict::pass) {
      loaded_.warnings.push_back(place + ".decision.fallback: pass lets dropped parts through");
    }
  }

  void check_task_of_line(const std::string& place, const LineEntry& entry, const TaskSpec& task) {
    if (task.crop) require_task(place + ".tasks", task.crop->from_task, entry.line.tasks);
    check_images(entry, task);
    const TaskSpec* const fallback = find_task(task.fallback_task);
    if (fallback != nullptr) check_images(entry, *fallback);
  }

  void check_images(const LineEntry& entry, const TaskSpec& task) {
    const std::vector<std::string> roles = image_roles(entry.source);
    for (const TaskInput& input : task.inputs) {
      for (const std::string& role : input.images) {
        if (std::ranges::find(roles, role) != roles.end()) continue;
        reader_.problem("tasks." + task.name + ".inputs", "the source of line '" + entry.line.name +
                                                              "' gives no image '" + role + "'" +
                                                              suggestion(role, roles));
      }
    }
  }

  void require_task(const std::string& place, const std::string& name,
                    const std::vector<std::string>& known) {
    if (std::ranges::find(known, name) != known.end()) return;
    reader_.problem(place, "no task '" + name + "'" + suggestion(name, known));
  }

  Reader& reader_;
  Loaded& loaded_;
  std::vector<std::string> task_names_;
};

void read_file(Reader& reader, const std::filesystem::path& base, Loaded& loaded) {
  Config& config = loaded.config;
  reader.require("models", "where the models are, such as {repository: models}");
  reader.mapping("models", [&](Reader& child) { read_models(child, base, config.models); });
  read_devices(reader, config.devices);
  reader.mapping("workers", [&](Reader& child) { read_workers(child, base, config.workers); });
  if (!reader.has("server")) reader.require("tasks", "a mapping from name to task");
  reader.entries("tasks", [&](const std::string& name, Reader& child) {
    read_task(name, child, config.tasks);
  });
  reader.entries("lines", [&](const std::string& name, Reader& child) {
    config.lines.push_back(read_line(name, base, child));
    config.lines.back().line.flow = FlowId{static_cast<std::uint32_t>(config.lines.size())};
  });
  reader.mapping("store", [&](Reader& child) { read_store(child, base, config.store.emplace()); });
  reader.list("sinks", [&](Reader& child) { read_sink(child, base, config.sinks); });
  reader.mapping("server", [&](Reader& child) {
    read_server(child, base, config.server.emplace(), loaded.warnings);
  });
  if (config.store) {
    for (LineEntry& entry : config.lines) entry.line.pictures = config.store->store.pictures;
  }
  complete_devices(config);
}

std::unexpected<Error> all_of(const std::vector<std::string>& problems) {
  std::string message;
  for (const std::string& problem : problems) message += (message.empty() ? "" : "\n") + problem;
  return fail(ErrorKind::invalid_input, message);
}

}  // namespace

Result<Loaded> parse(std::string_view text, const std::filesystem::path& file) {
  Problems problems(file.string());
  Loaded loaded;
  loaded.config.file = file;
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    if (!root.IsMap()) {
      return fail(ErrorKind::invalid_input,
                  file.string() +
                      ": expected a mapping with models, tasks and lines; see "
                      "examples/pcb/takt.yaml");
    }
    Reader reader(root, "", problems);
    read_file(reader, std::filesystem::absolute(file).parent_path(), loaded);
    if (problems.all().empty()) References(reader, loaded).check();
    reader.finish();
  } catch (const YAML::Exception& error) {
    problems.add(error.mark, "", "not YAML: " + error.msg);
  }
  if (!problems.all().empty()) return all_of(problems.all());
  return loaded;
}

Result<Loaded> load(const std::filesystem::path& file) {
  std::error_code failure;
  const std::uintmax_t size = std::filesystem::file_size(file, failure);
  std::ifstream stream(file);
  if (failure || !stream) {
    return fail(
        ErrorKind::invalid_input,
        file.string() + ": can't be read; name a takt.yaml, such as examples/pcb/takt.yaml");
  }
  if (size > kFileBytesMax) {
    return fail(ErrorKind::invalid_input, file.string() + " has " + std::to_string(size) +
                                              " bytes; a configuration has at most 4 MiB");
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return parse(text.str(), file);
}

}  // namespace takt::config
