// SPDX-License-Identifier: Apache-2.0
// What the HTTP server makes of the parts of a request: its target, its headers, a packed body.
#include "rest/query.h"
#include "server/http/base64.h"
#include "server/http/browser_guard.h"
#include "server/http/compression.h"
#include "server/http/http_message.h"
#include "target.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace takt::fuzz {
namespace {

using server::ApiCode;
using server::http::Coding;

enum class Part : std::uint8_t { target, gzip, deflate, headers, base64, count };
constexpr std::size_t kUnpackedBytesMax = 64 << 10;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string escaped(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789aBcDeF";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    result += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
  }
  return result;
}

void check_query(const rest::Query& query) {
  constexpr std::int64_t kMax = 500;
  for (const auto& [key, value] : query) {
    if (const auto number = rest::number_of(query, key, 1, kMax)) {
      require(**number >= 1 && **number <= kMax, "numbers lie within their bounds");
    } else {
      require(number.error().code == ApiCode::invalid_argument, "errors are the client's");
    }
    static_cast<void>(rest::flag_of(query, key));
    static_cast<void>(rest::verdict_of(query, key));
    require(rest::text_of(query, key) == value, "texts are as they came");
  }
  static_cast<void>(rest::check_query(query, {"line", "limit"}));
}

void run_target(std::string_view text) {
  const auto target = server::http::parse_target(text);
  if (!target) return;
  std::string again = "/";
  for (const std::string& part : target->path) {
    require(!part.empty() && part.find('\0') == std::string::npos, "parts of a path are texts");
    again += escaped(part) + "/";
  }
  char separator = '?';
  for (const auto& [key, value] : target->query) {
    again += separator + escaped(key) + "=" + escaped(value);
    separator = '&';
  }
  const auto second = server::http::parse_target(again);
  require(second && second->path == target->path && second->query == target->query,
          "a target survives being written with escapes");
  check_query(target->query);
}

void run_packed(std::string_view body, Coding coding) {
  const auto unpacked = server::http::decompress(body, coding, kUnpackedBytesMax);
  if (!unpacked) {
    require(unpacked.error().code == ApiCode::invalid_argument ||
                unpacked.error().code == ApiCode::payload_too_large,
            "errors are the client's");
    return;
  }
  require(unpacked->size() <= kUnpackedBytesMax, "bodies are bounded");
  const std::array<std::string_view, 1> parts{*unpacked};
  const auto again =
      server::http::decompress(server::http::compress(parts, coding), coding, kUnpackedBytesMax);
  require(again && *again == *unpacked, "a body survives the way there and back");
}

// A host and an origin, each on a line of its own.
void run_headers(std::string_view text) {
  static const server::http::BrowserGuard guard(
      {.hosts = {"line-3.example"}, .origins = {"https://panel.example:8443"}});
  const std::size_t line = std::min(text.find('\n'), text.size());
  const std::string_view host = text.substr(0, line);
  const std::string_view origin = text.substr(std::min(line + 1, text.size()));
  if (const auto checked = guard.check(host, origin); !checked) {
    require(!checked.error().message.empty(), "errors have words");
  }
  require(!guard.check("evil.example", origin), "a strange name is nobody's");
  static_cast<void>(server::http::is_host_name(host));
  static_cast<void>(server::http::is_origin(origin));
  static_cast<void>(server::http::parse_coding(host));
  static_cast<void>(server::http::choose_coding(text));
}

void run_base64(std::string_view text) {
  const auto decoded = server::http::decode_base64(text);
  require(!decoded || decoded->size() <= text.size() / 4 * 3, "four characters are three bytes");
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::uint8_t part = input.take<std::uint8_t>();
  const std::string_view text = text_of(input.rest());
  switch (static_cast<Part>(part % static_cast<int>(Part::count))) {
    case Part::target:
      return run_target(text);
    case Part::gzip:
      return run_packed(text, Coding::gzip);
    case Part::deflate:
      return run_packed(text, Coding::deflate);
    case Part::headers:
      return run_headers(text);
    case Part::base64:
      return run_base64(text);
    case Part::count:
      break;
  }
}

Seed seed(const std::string& name, Part part, std::string_view text) {
  return {name, Script().put(part).put_bytes(std::as_bytes(std::span(text))).bytes()};
}

// "aaaa..." and "hello", stored without compression so that they are the same with every zlib.
constexpr std::string_view kGzip{
    "\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x05\0\xfa\xffhello\x86\xa6\x10\x36\x05\0\0\0", 28};
constexpr std::string_view kZlib{"\x78\x01\x01\x05\0\xfa\xffhello\x06\x2c\x02\x15", 16};
constexpr std::string_view kRaw{"\x01\x05\0\xfa\xffhello", 10};

std::vector<Seed> seeds() {
  return {
      seed("path", Part::target, "/v2/models/a%2Fb/versions/3/infer"),
      seed("query", Part::target, "/api/reviews?line=pcb+1&limit=20&decided=true&=&x#end"),
      seed("escape", Part::target, "/%c3%a9/%0/%"),
      seed("gzip", Part::gzip, kGzip),
      seed("members", Part::gzip, std::string(kGzip) + std::string(kGzip)),
      seed("zlib", Part::deflate, kZlib),
      seed("raw", Part::deflate, kRaw),
      seed("own", Part::headers, "localhost:8000\nhttp://localhost:8000"),
      seed("strange", Part::headers, "[::1]:8000\nhttps://evil.example, gzip;q=0, deflate"),
      seed("base64", Part::base64, "aGVsbG8gdGFrdA=="),
  };
}

}  // namespace

Target http_parts() {
  return {"http_parts", &run, &seeds};
}

}  // namespace takt::fuzz
