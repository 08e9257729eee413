// SPDX-License-Identifier: Apache-2.0
// Inference requests as an HTTP client may have made them up: JSON, and binary data behind it.
#include "call_check.h"
#include "memory/slot_pool.h"
#include "server/http/json_call.h"
#include "target.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace takt::fuzz {
namespace {

using server::ApiCode;
using server::ApiResult;
using server::http::JsonCall;
using server::http::JsonCallReader;

struct Reader {
  std::shared_ptr<SlotPool> pool =
      SlotPool::create("fuzz inputs", std::array{SizeClass{4096, 8}, SizeClass{16384, 2}}).value();
  JsonCallReader json;
  server::RoomSource room = [this](std::size_t bytes) -> ApiResult<Slot> {
    Result<Slot> slot = pool->acquire(bytes);
    if (!slot) return std::unexpected(server::to_api_error(slot.error()));
    return std::move(*slot);
  };

  // In an allocation of its own, with `behind` in the bytes that may be read and mean nothing.
  ApiResult<JsonCall> read(std::string_view text, std::size_t binary_bytes, char behind) {
    const std::size_t room_bytes = text.size() + JsonCallReader::padding();
    const auto copy = std::make_unique<char[]>(room_bytes);
    std::ranges::fill_n(copy.get(), static_cast<std::ptrdiff_t>(room_bytes), behind);
    std::ranges::copy(text, copy.get());
    return json.read(std::span<const char>(copy.get(), text.size()), binary_bytes, room);
  }
};

Reader& reader() {
  static Reader one;
  return one;
}

// As a connection does: the binary data into the parts that the JSON asks for.
void fill(const JsonCall& read, std::span<const std::byte> binary) {
  for (const std::span<std::byte> part : read.binary) {
    require(part.size() <= binary.size(), "no more is asked for than follows");
    require(lies_in(part, read.call.slots), "binary data go into the slots");
    std::ranges::copy(binary.first(part.size()), part.begin());
    binary = binary.subspan(part.size());
  }
  require(binary.empty(), "all of the binary data belong to an input");
}

void check_same(const JsonCall& a, const JsonCall& b) {
  require(a.call.id == b.call.id && a.call.sequence == b.call.sequence &&
              a.call.priority == b.call.priority && a.call.timeout_us == b.call.timeout_us,
          "what lies behind the text changes nothing");
  require(std::ranges::equal(a.call.inputs, b.call.inputs,
                             [](const server::CallInput& x, const server::CallInput& y) {
                               return x.name == y.name && x.type == y.type && x.shape == y.shape &&
                                      std::ranges::equal(x.bytes, y.bytes);
                             }),
          "what lies behind the text changes no input");
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::size_t wanted = input.take<std::uint16_t>();
  const std::span<const std::byte> rest = input.rest();
  const std::span<const std::byte> json = rest.first(std::min(wanted, rest.size()));
  const std::span<const std::byte> binary = rest.subspan(json.size());
  const std::string_view text(reinterpret_cast<const char*>(json.data()), json.size());
  {
    const ApiResult<JsonCall> call = reader().read(text, binary.size(), '\0');
    if (call) {
      check_call(call->call);
      for (const server::CallInput& each : call->call.inputs) {
        require(std::ranges::all_of(each.shape, [](auto dim) { return dim >= 0; }),
                "dimensions are counts");
      }
      fill(*call, binary);
    } else {
      require(call.error().code == ApiCode::invalid_argument ||
                  call.error().code == ApiCode::payload_too_large ||
                  call.error().code == ApiCode::resource_exhausted,
              "errors are the client's");
      require(!call.error().message.empty(), "errors have words");
    }
    require(call || reader().pool->in_use() == 0, "a refused request keeps no slot");
    std::uint32_t held = 0;
    if (call) held = reader().pool->in_use();
    const ApiResult<JsonCall> again = reader().read(text, binary.size(), '1');
    // While the first holds its slots, none may be left.
    require(call.has_value() == again.has_value() || held > 0, "a request is read alike");
    if (call && again) {
      fill(*again, binary);
      check_same(*call, *again);
    }
  }
  require(reader().pool->in_use() == 0, "no slot is leaked");
}

Seed seed(const std::string& name, std::string_view json, std::string_view binary = {}) {
  Script script;
  script.put(static_cast<std::uint16_t>(json.size()));
  return {name, script.put_bytes(std::as_bytes(std::span(json)))
                    .put_bytes(std::as_bytes(std::span(binary)))
                    .bytes()};
}

std::vector<Seed> seeds() {
  return {
      seed("plain", R"({"id":"part 7","inputs":[{"name":"A","datatype":"INT32","shape":[2,2],)"
                    R"("data":[[1,2],[3,-4]]},{"name":"B","datatype":"FP64","shape":[1],)"
                    R"("data":[0.5e-3]}],"outputs":[{"name":"X"},{"name":"Z","parameters":)"
                    R"({"classification":5,"binary_data":true}}]})"),
      seed("binary",
           R"({"inputs":[{"name":"A","shape":[2,3],"datatype":"UINT8","parameters":)"
           R"({"binary_data_size":6}},{"name":"W","shape":[1],"datatype":"BYTES",)"
           R"("parameters":{"binary_data_size":6}}],)"
           R"("parameters":{"binary_data_output":true}})",
           {"abcdef\2\0\0\0ab", 12}),
      seed("half",
           R"({"inputs":[{"name":"A","shape":[2],"datatype":"FP16","parameters":)"
           R"({"binary_data_size":4}},{"name":"B","shape":[1],"datatype":"UINT64",)"
           R"("data":[18446744073709551615]}]})",
           "abcd"),
      seed("strings", R"({"inputs":[{"name":"\u00e9","datatype":"BYTES","shape":[3],)"
                      R"("data":["a\"b\\","","\ud83d\ude00"]},{"name":"F","datatype":"BOOL",)"
                      R"("shape":[2],"data":[true,false]}]})"),
      seed("shared", R"({"inputs":[{"name":"A","shape":[4],"datatype":"INT8","parameters":)"
                     R"({"shared_memory_region":"in","shared_memory_offset":16,)"
                     R"("shared_memory_byte_size":4}}],"outputs":[{"name":"Y","parameters":)"
                     R"({"shared_memory_region":"out","shared_memory_byte_size":4}}]})"),
      seed("schedule", R"({"id":42,"parameters":{"priority":2,"timeout":2500,"sequence_id":"l",)"
                       R"("sequence_start":true,"mine":[{}]},"inputs":[]})"),
      seed("empty", R"({"inputs":[{"name":"A","shape":[0,3],"datatype":"FP32","data":[]}]})"),
      seed("cut", R"({"inputs":[{"name":"A","shape":[1],"data)"),
  };
}

}  // namespace

Target json_call() {
  return {"json_call", &run, &seeds};
}

}  // namespace takt::fuzz
