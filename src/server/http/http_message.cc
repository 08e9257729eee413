// SPDX-License-Identifier: Apache-2.0
#include "server/http/http_message.h"

#include "server/http/json_answer.h"

#include <algorithm>

namespace takt::server::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      decoded += ' ';
    } else if (text[i] != '%') {
      decoded += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (decoded.back() == '\0') return std::nullopt;
  }
  return decoded;
}

template <typename Each>
bool split(std::string_view text, char separator, Each each) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (!each(text.substr(0, end))) return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

}  // namespace

std::optional<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/')) return std::nullopt;
  Target parsed;
  target = target.substr(0, target.find('#'));
  const std::size_t question = target.find('?');
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  const bool path_read = split(target.substr(0, question), '/', [&](std::string_view part) {
    auto decoded = decode(part, false);
    if (!decoded) return false;
    if (!decoded->empty()) parsed.path.push_back(std::move(*decoded));
    return true;
  });
  const bool query_read = split(query, '&', [&](std::string_view part) {
    if (part.empty()) return true;
    const std::size_t equals = part.find('=');
    auto key = decode(part.substr(0, equals), true);
    auto value = equals == std::string_view::npos ? std::optional<std::string>("")
                                                  : decode(part.substr(equals + 1), true);
    if (!key || !value) return false;
    parsed.query[std::move(*key)] = std::move(*value);
    return true;
  });
  if (!path_read || !query_read) return std::nullopt;
  return parsed;
}

HttpReply error_reply(const ApiError& error) {
  HttpReply reply;
  reply.status = http_status(error.code);
  reply.body = error_json(error.message);
  // The queue is milliseconds long; a second is the least that the header can say.
  if (error.code == ApiCode::resource_exhausted) reply.headers.emplace_back("Retry-After", "1");
  if (error.code == ApiCode::unauthenticated) {
    reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  }
  return reply;
}

HttpReply wrong_method(std::string_view allowed) {
  const std::string methods(allowed);
  HttpReply reply =
      error_reply({ApiCode::invalid_argument, "this path takes " + methods + " only"});
  reply.status = 405;
  reply.headers.emplace_back("Allow", methods);
  return reply;
}

std::string_view reason_phrase(int status) noexcept {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Payload Too Large";
    case 415:
      return "Unsupported Media Type";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return status >= 500 ? "Internal Server Error" : "Unknown";
  }
}

}  // namespace takt::server::http
