#include "sdkit.hpp"

#include <dlfcn.h>
#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <sstream>
#include <thread>

namespace fs = std::filesystem;

namespace sdkit {
namespace {

using Json = nlohmann::ordered_json;

// Texts.

std::string join(const std::vector<std::string>& words, const std::string& between = ", ") {
    std::string joined;
    for (const std::string& word : words) joined += (joined.empty() ? "" : between) + word;
    return joined;
}

std::vector<std::string> words(const Shape& shape) {
    std::vector<std::string> found;
    for (const std::int64_t axis : shape) found.push_back(std::to_string(axis));
    return found;
}

std::string first_line(const std::string& message) { return message.substr(0, message.find('\n')); }

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string read_bytes(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw MissingFileError(path.string() + " cannot be read");
    return {std::istreambuf_iterator<char>(stream), {}};
}

// The manifest.

// The contract of bundles, once: what runtime/contract.py and runtime/kinds say, and tests/hosts/test_cpp.py compares
// with them. A graph lists what it may take and gives, and what it may give besides (`optional`); `axes` differ from
// those of `tensors`. `means` stand for codes until a sample is there.
const char* const contract_text = R"({
  "tensors": {
    "x": ["B", "T", "*element"],
    "x_std": ["B", "T", "*element"],
    "features": ["B", "T", "G"],
    "context": ["B", "C"],
    "static_mean": ["B", "S"],
    "static_std": ["B", "S"],
    "static": ["B", "S"],
    "dynamic_mean": ["B", "T", "D"],
    "dynamic_std": ["B", "T", "D"],
    "dynamic": ["B", "T", "D"],
    "noise": ["B", "T", "D"],
    "element_features": ["B", 1, "G"],
    "state": ["B", "K"],
    "next_state": ["B", "K"]
  },
  "widths": {"S": "static_size", "D": "dynamic_size", "G": "features", "C": "context", "K": "state"},
  "means": {"static_mean": "static", "dynamic_mean": "dynamic"},
  "graphs": {
    "encoder": {"inputs": ["x"], "outputs": ["features"], "optional": [], "axes": {}},
    "static": {"inputs": ["features"], "outputs": ["static_mean", "static_std"], "optional": ["context"], "axes": {}},
    "dynamic": {
      "inputs": ["features", "context", "static"], "outputs": ["dynamic_mean", "dynamic_std"], "optional": [], "axes": {}
    },
    "decoder": {"inputs": ["static", "dynamic"], "outputs": ["x"], "optional": ["x_std"], "axes": {}},
    "prior": {"inputs": ["noise"], "outputs": ["dynamic"], "optional": ["dynamic_mean"], "axes": {}},
    "static_prior": {"inputs": ["noise"], "outputs": ["static"], "optional": [], "axes": {"noise": ["B", "S"]}},
    "dynamic_posterior": {
      "inputs": ["features", "context", "static", "noise"], "outputs": ["dynamic"], "optional": [], "axes": {}
    },
    "dynamic_step": {
      "inputs": ["element_features", "state"],
      "outputs": ["static_mean", "dynamic_mean", "dynamic_std", "next_state"],
      "optional": [],
      "axes": {"dynamic_mean": ["B", 1, "D"], "dynamic_std": ["B", 1, "D"]}
    }
  },
  "verbs": {
    "encode": ["encoder", "static", "dynamic"],
    "decode": ["decoder"],
    "reconstruct": ["encoder", "static", "dynamic", "decoder"],
    "swap": ["encoder", "static", "dynamic", "decoder"],
    "generate": ["prior", "decoder"],
    "resample_static": ["encoder", "static", "dynamic", "decoder"],
    "resample_dynamic": ["encoder", "static", "prior", "decoder"],
    "stream": ["encoder", "dynamic_step", "decoder"]
  },
  "kinds": {
    "image": {
      "axes": ["C", "H", "W"], "plural": "images", "dtypes": ["uint8", "float32"],
      "pictorial": true, "incomplete": false, "presumed": true
    },
    "series": {
      "axes": ["W", "F"], "plural": "windows of a series", "dtypes": ["uint8", "float32"],
      "pictorial": false, "incomplete": true, "presumed": true
    },
    "spectrum": {
      "axes": ["F"], "plural": "spectrum frames", "dtypes": ["uint8", "float32"],
      "pictorial": false, "incomplete": true, "presumed": true
    },
    "vector": {
      "axes": ["F"], "plural": "vectors", "dtypes": ["float32"],
      "pictorial": false, "incomplete": true, "presumed": false
    }
  }
})";
const char* const step_graph = "dynamic_step";
const char* const static_prior_graph = "static_prior";            // absent: the static prior is N(0, I)
const char* const dynamic_posterior_graph = "dynamic_posterior";  // absent: a sample is mean + std * noise

const Json& rules() {
    static const Json parsed = Json::parse(contract_text);
    return parsed;
}

const Json& rules(const char* part) { return rules().at(part); }

std::vector<std::string> keys(const Json& object) {
    std::vector<std::string> found;
    for (const auto& [name, value] : object.items()) found.push_back(name);
    return found;
}

// Whether every word of `some` is one of `all`.
bool within(const std::vector<std::string>& some, const std::vector<std::string>& all) {
    return std::all_of(some.begin(), some.end(),
                       [&](const auto& word) { return std::find(all.begin(), all.end(), word) != all.end(); });
}

std::vector<std::string> chain_of(const char* verb) {
    return rules("verbs").at(verb).get<std::vector<std::string>>();
}

// Texts as Python prints them, for the same messages.

std::string printed(const Json& value) {
    if (value.is_null()) return "None";
    if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
    return value.is_string() ? value.get<std::string>() : value.dump();
}

// An axis of a shape: a number, or a letter in quotes.
std::string tuple(const Json& shape) {
    std::vector<std::string> axes;
    for (const Json& axis : shape) axes.push_back(axis.is_string() ? "'" + printed(axis) + "'" : axis.dump());
    return "(" + join(axes) + (axes.size() == 1 ? ",)" : ")");
}

// A manifest that does not follow the schema; `parse_manifest` adds whose it is.
struct SchemaError : std::runtime_error {
    SchemaError(const std::string& problem, const std::string& where)
        : std::runtime_error(problem + (where == "$" ? "" : " - at `" + where + "`")) {}
};

std::string kind_of(const Json& value) {
    if (value.is_number_integer()) return "int";
    if (value.is_number()) return "float";
    if (value.is_string()) return "str";
    if (value.is_boolean()) return "bool";
    return value.type_name();  // null, object or array, as the schema calls them
}

[[noreturn]] void expected(const std::string& what, const Json& value, const std::string& where) {
    throw SchemaError("Expected `" + what + "`, got `" + kind_of(value) + "`", where);
}

std::string as_text(const Json& value, const std::string& where) {
    if (!value.is_string()) expected("str", value, where);
    return value.get<std::string>();
}

std::int64_t as_whole(const Json& value, const std::string& where) {
    if (!value.is_number_integer()) expected("int", value, where);
    return value.get<std::int64_t>();
}

bool as_bool(const Json& value, const std::string& where) {
    if (!value.is_boolean()) expected("bool", value, where);
    return value.get<bool>();
}

void check_object(const Json& value, const std::string& where) {
    if (!value.is_object()) expected("object", value, where);
}

// Calls `take(item, where)` for every item of a list.
template <typename Take>
void each_item(const Json& value, const std::string& where, Take take) {
    if (!value.is_array()) expected("array", value, where);
    for (std::size_t i = 0; i < value.size(); ++i) take(value[i], where + "[" + std::to_string(i) + "]");
}

// The fields of an object: every field must be asked for, else it is unknown.
class Fields {
public:
    Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
        check_object(object_, where_);
    }

    // Calls `read(value, where)` of a field that must be there.
    template <typename Read>
    auto required(const std::string& name, Read read) {
        known_.insert(name);
        if (!object_.contains(name)) throw SchemaError("Object missing required field `" + name + "`", where_);
        return read(object_.at(name), where_ + "." + name);
    }

    // The same of a field that may be absent, or null where the schema says so.
    template <typename Read>
    void optional(const std::string& name, Read read) {
        if (object_.contains(name)) required(name, read);
        known_.insert(name);
    }

    void reject_others() const {
        for (const auto& [name, value] : object_.items()) {
            if (known_.count(name) == 0) throw SchemaError("Object contains unknown field `" + name + "`", where_);
        }
    }

private:
    const Json& object_;
    std::string where_;
    std::set<std::string> known_;
};

std::vector<std::string> read_texts(const Json& value, const std::string& where) {
    std::vector<std::string> texts;
    each_item(value, where, [&](const Json& item, const std::string& at) { texts.push_back(as_text(item, at)); });
    return texts;
}

Element read_element(const Json& value, const std::string& where) {
    Fields fields(value, where);
    Element element;
    element.kind = fields.required("kind", as_text);
    fields.required("shape", [&](const Json& axes, const std::string& at) {
        each_item(axes, at,
                  [&](const Json& axis, const std::string& here) { element.shape.push_back(as_whole(axis, here)); });
    });
    const std::string dtype = fields.required("dtype", as_text);
    if (dtype != "uint8" && dtype != "float32")
        throw SchemaError("Invalid enum value '" + dtype + "'", where + ".dtype");
    element.dtype = dtype == "uint8" ? DType::uint8 : DType::float32;
    fields.optional("units", [&](const Json& texts, const std::string& at) { element.units = read_texts(texts, at); });
    fields.optional("feature_names",
                    [&](const Json& texts, const std::string& at) { element.feature_names = read_texts(texts, at); });
    fields.reject_others();
    const auto found = kinds().find(element.kind);
    if (found == kinds().end()) {
        throw SchemaError("unknown kind of element '" + element.kind + "'; there are: " + join(keys(rules("kinds"))),
                          where);
    }
    const Kind& kind = found->second;
    const bool positive = std::all_of(element.shape.begin(), element.shape.end(), [](std::int64_t n) { return n > 0; });
    if (element.shape.size() != kind.axes.size() || !positive) {
        throw SchemaError("an element of kind " + element.kind + " has the axes (" + join(kind.axes) +
                              "), not the shape " + text(element.shape),
                          where);
    }
    if (!within({dtype}, kind.dtypes)) {
        throw SchemaError("an element of kind " + element.kind + " is " + join(kind.dtypes, " or ") + ", not " + dtype,
                          where);
    }
    return element;
}

Widths read_widths(const Json& value, const std::string& where) {
    Fields fields(value, where);
    Widths widths;
    const auto optional = [&](const char* name, std::int64_t& width) {
        fields.optional(name, [&](const Json& given, const std::string& at) { width = as_whole(given, at); });
    };
    widths.static_size = fields.required("static_size", as_whole);
    widths.dynamic_size = fields.required("dynamic_size", as_whole);
    optional("features", widths.features);
    optional("context", widths.context);
    optional("state", widths.state);
    fields.reject_others();
    return widths;
}

void whole_or_null(const Json& number, const std::string& at) {
    if (!number.is_null() && !number.is_number_integer()) expected("int | null", number, at);
}

FileSpec read_file(const Json& value, const std::string& where) {
    Fields fields(value, where);
    FileSpec file;
    file.path = fields.required("path", as_text);
    file.sha256 = fields.required("sha256", as_text);
    file.size = static_cast<std::uint64_t>(fields.required("size", as_whole));
    fields.optional("exporter", as_text);
    fields.optional("opset", whole_or_null);
    fields.optional("ir_version", whole_or_null);
    fields.optional("precision", [](const Json& precision, const std::string& at) {
        const std::string name = as_text(precision, at);
        if (name != "float32" && name != "float16" && name != "int8")
            throw SchemaError("Invalid enum value '" + name + "'", at);
    });
    fields.reject_others();
    return file;
}

std::map<std::string, FileSpec> read_files(const Json& value, const std::string& where) {
    check_object(value, where);
    std::map<std::string, FileSpec> files;
    for (const auto& [name, file] : value.items()) files[name] = read_file(file, where + "[...]");
    return files;
}

std::vector<std::string> read_tensors(const Json& value, const std::string& where) {
    std::vector<std::string> names;
    each_item(value, where, [&](const Json& tensor, const std::string& at) {
        Fields fields(tensor, at);
        names.push_back(fields.required("name", as_text));
        fields.required("dtype", as_text);
        fields.required("shape", [](const Json& shape, const std::string& here) {
            each_item(shape, here, [](const Json& axis, const std::string& there) {
                if (!axis.is_string() && !axis.is_number_integer()) expected("int | str", axis, there);
            });
        });
        fields.reject_others();
    });
    return names;
}

GraphSpec read_graph(const Json& value, const std::string& where) {
    Fields fields(value, where);
    GraphSpec graph;
    graph.inputs = fields.required("inputs", read_tensors);
    graph.outputs = fields.required("outputs", read_tensors);
    graph.files = fields.required("files", read_files);
    fields.reject_others();
    for (const auto& [format, file] : graph.files) {
        if (format != "onnx" && format != "torchscript") {
            throw SchemaError("Invalid enum value '" + format + "' - at `key` in `" + where + ".files`", "$");
        }
    }
    return graph;
}

void read_provenance(const Json& value, const std::string& where, Manifest& manifest) {
    Fields fields(value, where);
    for (const char* name : {"sdkit_version", "torch_version", "created", "run", "weights", "data", "data_source",
                             "data_licence", "preset", "commit"}) {
        fields.optional(name, as_text);
    }
    fields.optional("epochs", as_whole);
    fields.optional("seed", as_whole);
    fields.optional("weights_sha256",
                    [&](const Json& digest, const std::string& at) { manifest.weights_sha256 = as_text(digest, at); });
    fields.reject_others();
}

void read_graphs(const Json& value, const std::string& where, Manifest& manifest) {
    check_object(value, where);
    for (const auto& [name, graph] : value.items()) manifest.graphs[name] = read_graph(graph, where + "[...]");
}

// What ends a manifest of every format.
void read_rest(Fields& fields, Manifest& manifest) {
    fields.optional("files", [&](const Json& files, const std::string& at) { manifest.files = read_files(files, at); });
    fields.optional("provenance",
                    [&](const Json& from, const std::string& at) { read_provenance(from, at, manifest); });
    for (const char* name : {"format", "digest"}) fields.optional(name, as_text);
    fields.optional("version", as_whole);
    fields.reject_others();
}

Manifest read_manifest(const Json& value) {
    Fields fields(value, "$");
    Manifest manifest;
    const auto reals = [](const Json& numbers, const std::string& where) {
        each_item(numbers, where, [](const Json& number, const std::string& at) {
            if (!number.is_number()) expected("float", number, at);
        });
    };
    manifest.element = fields.required("element", read_element);
    manifest.widths = fields.required("widths", read_widths);
    fields.required("graphs", [&](const Json& graphs, const std::string& at) { read_graphs(graphs, at, manifest); });
    manifest.abilities.method = fields.required("method", as_text);
    manifest.variant = fields.required("variant", as_text);
    fields.required("settings", check_object);
    fields.required("capabilities", read_texts);
    fields.required("refusals", [&](const Json& reasons, const std::string& at) {
        check_object(reasons, at);
        for (const auto& [verb, reason] : reasons.items())
            manifest.abilities.refusals[verb] = as_text(reason, at + "[...]");
    });
    manifest.steps = fields.required("steps", as_whole);
    fields.optional("max_steps", [&](const Json& steps, const std::string& at) {
        whole_or_null(steps, at);
        if (!steps.is_null()) manifest.abilities.max_steps = steps.get<std::int64_t>();
    });
    fields.optional("feature_mean", reals);
    fields.optional("feature_std", reals);
    read_rest(fields, manifest);
    return manifest;
}

// Manifests of format 1, which sdkit wrote while it had one method, `dbse`. Their graphs run as they are: what is
// called `context` today is called `static_hidden` in them, and graphs are fed by the names that the manifest lists.

// K of the graph `dynamic_step`, 0 where it has no state of a fixed width.
std::int64_t state_width(const Json& graphs) {
    if (!graphs.contains(step_graph)) return 0;
    for (const Json& tensor : graphs.at(step_graph).at("inputs")) {
        const Json& shape = tensor.at("shape");
        if (tensor.at("name") != "state" || shape.empty()) continue;
        return shape.back().is_number_integer() ? shape.back().get<std::int64_t>() : 0;
    }
    return 0;
}

// Why a model of format 1 cannot run online; empty where it can.
std::string offline(bool causal, const std::string& anchor, bool step) {
    if (!causal) return "its LSTM is bidirectional, so no dynamic code is known before the last element";
    if (anchor != "first")
        return "its static code is read from the " + anchor + " element, which is not known when a stream begins";
    if (!step)
        return std::string("its bundle was made before bundles had a graph ") + step_graph + "; export its run again";
    return "";
}

Widths read_letters(const Json& value, const std::string& where) {
    Fields fields(value, where);
    Widths widths;
    widths.static_size = fields.required("static_size", as_whole);
    widths.dynamic_size = fields.required("dynamic_size", as_whole);
    fields.optional("features",
                    [&](const Json& width, const std::string& at) { widths.features = as_whole(width, at); });
    fields.optional("hidden_size",
                    [&](const Json& width, const std::string& at) { widths.context = as_whole(width, at); });
    fields.reject_others();
    return widths;
}

Manifest read_format1(const Json& value) {
    Fields fields(value, "$");
    Manifest manifest;
    manifest.element = fields.required("element", read_element);
    manifest.widths = fields.required("letters", read_letters);
    fields.required("graphs", [&](const Json& graphs, const std::string& at) { read_graphs(graphs, at, manifest); });
    manifest.widths.state = state_width(value.at("graphs"));
    manifest.steps = fields.required("steps", as_whole);
    const std::string anchor = fields.required("anchor", as_text);
    fields.required("anchor_dynamic", as_text);
    const bool causal = fields.required("causal", as_bool);
    manifest.variant = fields.required("variant", as_text);
    fields.required("model", check_object);
    read_rest(fields, manifest);
    manifest.abilities.method = "dbse";
    const std::string reason = offline(causal, anchor, manifest.graphs.count(step_graph) > 0);
    if (!reason.empty()) manifest.abilities.refusals["stream"] = reason;
    return manifest;
}

// What is wrong with the graphs of a manifest that follows the schema; empty where nothing is.
std::string problem_of_format1(const Json& json) {
    const std::vector<std::string> wanted = {"encoder", "static", "dynamic", "decoder", "prior"};
    const std::vector<std::string> names = keys(json.at("graphs"));
    std::vector<std::string> allowed = wanted;
    allowed.emplace_back(step_graph);
    if (!within(wanted, names) || !within(names, allowed)) {
        return "names the graphs " + join(names) + "; expected " + join(wanted) + ", and " + step_graph + " or none";
    }
    if (names.size() > wanted.size() && state_width(json.at("graphs")) < 1) {
        return std::string("gives the graph ") + step_graph + " no input 'state' (B, K) of a fixed width K";
    }
    return "";
}

// The shape of a tensor of a graph; B and T stay letters.
Json shape_of(const std::string& graph, const std::string& tensor, const Json& manifest) {
    const Json& own = rules("graphs").at(graph).at("axes");
    Json shape = Json::array();
    for (const Json& axis : own.contains(tensor) ? own.at(tensor) : rules("tensors").at(tensor)) {
        if (axis == "*element") {
            for (const Json& length : manifest.at("element").at("shape")) shape.push_back(length);
        } else if (axis.is_string() && rules("widths").contains(axis.get<std::string>())) {
            const std::string field = rules("widths").at(axis.get<std::string>()).get<std::string>();
            shape.push_back(manifest.at("widths").value(field, std::int64_t{0}));
        } else {
            shape.push_back(axis);
        }
    }
    return shape;
}

// The same of one graph: names and shapes of its tensors.
std::string problem_of_graph(const std::string& name, const Json& manifest) {
    const Json &graph = manifest.at("graphs").at(name), &rule = rules("graphs").at(name);
    const auto named = [&](const char* part) {
        std::set<std::string> names;
        for (const Json& tensor : graph.at(part)) names.insert(tensor.at("name").get<std::string>());
        return std::vector<std::string>(names.begin(), names.end());
    };
    const auto known = [&](const char* part) { return rule.at(part).get<std::vector<std::string>>(); };
    const std::vector<std::string> taken = named("inputs"), given = named("outputs");
    if (!within(taken, known("inputs"))) {
        return "gives the graph " + name + " the inputs " + join(taken) + "; known are " + join(known("inputs"));
    }
    std::vector<std::string> allowed = known("outputs");
    for (const std::string& more : known("optional")) allowed.push_back(more);
    if (!within(known("outputs"), given) || !within(given, allowed)) {
        return "gives the graph " + name + " the outputs " + join(given) + "; expected " + join(known("outputs"));
    }
    for (const char* part : {"inputs", "outputs"}) {
        for (const Json& tensor : graph.at(part)) {
            const std::string of = tensor.at("name").get<std::string>();
            const std::string whose = "gives the tensor " + of + " of graph " + name;
            const Json wanted = shape_of(name, of, manifest);
            if (tensor.at("shape") != wanted)
                return whose + " the shape " + tuple(tensor.at("shape")) + "; expected " + tuple(wanted);
            const bool data = name == "encoder" && of == "x";
            const std::string dtype = data ? printed(manifest.at("element").at("dtype")) : "float32";
            if (tensor.at("dtype") != dtype)
                return whose + " the dtype " + printed(tensor.at("dtype")) + "; expected " + dtype;
        }
    }
    if (!within({"context"}, taken)) return "";
    for (const auto& [other, spec] : manifest.at("graphs").items()) {
        for (const Json& tensor : spec.at("outputs")) {
            if (other == "static" && tensor.at("name") == "context") return "";
        }
    }
    return "gives the graph " + name + " the input context, which the graph static does not return";
}

// The same of the verbs, the graphs and their tensors.
std::string problem_of(const Json& json) {
    const auto sorted = [](std::vector<std::string> words) {
        std::sort(words.begin(), words.end());
        return words;
    };
    const auto capabilities = json.at("capabilities").get<std::vector<std::string>>();
    const std::vector<std::string> verbs = keys(rules("verbs")), names = keys(json.at("graphs"));
    std::vector<std::string> named = capabilities;
    for (const std::string& verb : keys(json.at("refusals"))) named.push_back(verb);
    if (sorted(named) != sorted(verbs)) {
        return "names the verbs " + join(named) + "; expected each of " + join(verbs) + " once";
    }
    std::vector<std::string> used, required, rest;
    for (const std::string& verb : capabilities) {
        for (const std::string& graph : chain_of(verb.c_str())) used.push_back(graph);
    }
    for (const std::string& graph : keys(rules("graphs"))) (within({graph}, used) ? required : rest).push_back(graph);
    if (!within(required, names) || !within(names, keys(rules("graphs")))) {
        return "names the graphs " + join(names) + "; expected " + join(required) + ", and any of " + join(rest);
    }
    for (const std::string& name : names) {
        if (const std::string problem = problem_of_graph(name, json); !problem.empty()) return problem;
    }
    if (json.at("graphs").contains(step_graph) && json.at("widths").value("state", std::int64_t{0}) < 1) {
        return std::string("gives the graph ") + step_graph + " no input 'state' (B, K) of a fixed width K";
    }
    return "";
}

// Returns the text of which the digest was taken: no spaces, an empty digest. It is made of the text itself, since a
// parser and printer of JSON would spell some numbers otherwise; of strings it takes the one spelling that sdkit
// writes.
std::string sealed_text(const std::string& given) {
    std::string out;
    int depth = 0;
    for (std::size_t i = 0; i < given.size();) {
        const char c = given[i];
        if (c != '"') {
            depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
            if (std::strchr(" \t\r\n", c) == nullptr) out += c;
            ++i;
            continue;
        }
        std::size_t end = i + 1;
        while (given[end] != '"') end += given[end] == '\\' ? 2 : 1;
        const bool digest = depth == 1 && (ends_with(out, ",\"digest\":") || ends_with(out, "{\"digest\":"));
        out += digest ? "\"\"" : Json::parse(given.substr(i, end + 1 - i)).dump();
        i = end + 1;
    }
    return out;
}

// Returns the manifest of a text, one of format 1 as one of today.
Manifest parse_manifest(const std::string& given, const std::string& where) {
    Json json;
    try {
        json = Json::parse(given);
    } catch (const Json::parse_error& error) {  // whose text may hold bytes of the file, and so is not shown
        throw ManifestError(where + " is not JSON: it breaks off or goes wrong at byte " + std::to_string(error.byte));
    }
    const auto field = [&](const char* name) { return json.contains(name) ? printed(json.at(name)) : "None"; };
    if (!json.is_object() || field("format") != "sdkit-bundle") {
        throw ManifestError(where + " is not the manifest of an sdkit bundle: it has no format 'sdkit-bundle'");
    }
    const bool whole = json.contains("version") && json.at("version").is_number_integer();
    const std::string version = field("version");
    if (!whole || (version != "1" && version != "2")) {
        throw BundleVersionError(where + " has version " + version + "; this sdkit reads versions 1 and 2");
    }
    const bool old = version == "1";
    Manifest manifest;
    try {
        manifest = old ? read_format1(json) : read_manifest(json);
    } catch (const SchemaError& error) {
        throw ManifestError(where + " does not follow the manifest's schema: " + error.what());
    }
    const std::string problem = old ? problem_of_format1(json) : problem_of(json);
    if (!problem.empty()) throw ManifestError(where + " " + problem);
    if (sha256(sealed_text(given)) != field("digest")) {
        throw ManifestError(where +
                            " was changed after it was written: its digest does not fit; export the bundle again");
    }
    manifest.version = old ? 1 : 2;
    return manifest;
}

// The files of a bundle.

// Whether a path of the manifest leaves the folder: by its text, or through a link.
bool leaves(const fs::path& folder, const std::string& path) {
    if (path.empty() || path.front() == '/' || path.find_first_of(std::string("\\:\0", 3)) != std::string::npos)
        return true;
    bool empty = true;
    for (const fs::path& part : fs::path(path)) {
        if (part == "..") return true;
        empty = empty && (part == "." || part.empty());
    }
    const fs::path root = fs::weakly_canonical(folder), file = fs::weakly_canonical(folder / path);
    return empty || std::mismatch(root.begin(), root.end(), file.begin(), file.end()).first != root.end();
}

void check_file(const fs::path& folder, const FileSpec& spec) {
    if (leaves(folder, spec.path)) {
        throw BundlePathError(folder.string() + ": the manifest points outside the bundle, to '" + spec.path +
                              "'; do not use this bundle");
    }
    const auto allowed = {".onnx", ".ts.pt", ".npz", ".json", ".md"};
    if (std::none_of(allowed.begin(), allowed.end(), [&](const char* end) { return ends_with(spec.path, end); })) {
        throw BundlePathError(folder.string() + ": the manifest names '" + spec.path +
                              "', a kind of file that no bundle holds");
    }
    const fs::path file = folder / spec.path;
    if (!fs::is_regular_file(file)) {
        throw BundleFileError(file.string() +
                              " is missing, though the manifest names it; export or copy the bundle again");
    }
    if (fs::file_size(file) != spec.size || sha256(read_bytes(file)) != spec.sha256) {
        throw DigestError(file.string() +
                          " is not the file that was exported (its bytes changed); export or copy the "
                          "bundle again");
    }
}

fs::path find_bundle(const fs::path& path) {
    const char* variable = std::getenv("SDKIT_BUNDLE");
    const fs::path given = !path.empty() ? path : fs::path(variable == nullptr ? "" : variable);
    if (given.empty())
        throw MissingFileError("no bundle was given, nor named by SDKIT_BUNDLE; `sdkit export` makes one");
    for (const fs::path& folder : {given, given / "bundle", fs::path("runs") / given / "bundle"}) {
        if (fs::is_regular_file(folder / "manifest.json")) {
            return folder.has_filename() ? folder : folder.parent_path();  // without the slash at its end
        }
    }
    throw MissingFileError(given.string() + " is not a bundle: it holds no manifest.json; `sdkit export` makes one");
}

// ONNX Runtime. Its C interface is one table of functions that only ever grows at its end, so the few that are used
// here are taken by their place in it: no header is needed, and one build runs with every release since 1.14.

struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtValue;
struct OrtTensorInfo;

using OrtEntry = void (*)();
struct OrtApiBase {
    const OrtEntry* (*api)(std::uint32_t version);
    const char* (*version)();
};
constexpr std::uint32_t ort_version = 14;  // the first that reads the opset of the bundles (18)
constexpr int ort_errors_only = 3, ort_float = 1, ort_uint8 = 2, ort_arena_allocator = 1, ort_default_memory = 0;

struct OrtApi {
    const char* (*message)(const OrtStatus*);
    OrtStatus* (*create_env)(int severity, const char* name, OrtEnv**);
    OrtStatus* (*create_session)(const OrtEnv*, const void* model, std::size_t, const OrtSessionOptions*, OrtSession**);
    OrtStatus* (*run)(OrtSession*, const OrtRunOptions*, const char* const* names, const OrtValue* const* inputs,
                      std::size_t, const char* const* output_names, std::size_t, OrtValue** outputs);
    OrtStatus* (*create_options)(OrtSessionOptions**);
    OrtStatus* (*set_intra_threads)(OrtSessionOptions*, int);
    OrtStatus* (*set_inter_threads)(OrtSessionOptions*, int);
    OrtStatus* (*input_count)(const OrtSession*, std::size_t*);
    OrtStatus* (*output_count)(const OrtSession*, std::size_t*);
    OrtStatus* (*input_name)(const OrtSession*, std::size_t, OrtAllocator*, char**);
    OrtStatus* (*output_name)(const OrtSession*, std::size_t, OrtAllocator*, char**);
    OrtStatus* (*create_tensor)(const OrtMemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape,
                                std::size_t axes, int type, OrtValue**);
    OrtStatus* (*tensor_data)(OrtValue*, void**);
    OrtStatus* (*element_type)(const OrtTensorInfo*, int*);
    OrtStatus* (*axis_count)(const OrtTensorInfo*, std::size_t*);
    OrtStatus* (*axes)(const OrtTensorInfo*, std::int64_t*, std::size_t);
    OrtStatus* (*tensor_info)(const OrtValue*, OrtTensorInfo**);
    OrtStatus* (*create_cpu_memory)(int allocator, int memory, OrtMemoryInfo**);
    OrtStatus* (*free)(OrtAllocator*, void*);
    OrtStatus* (*default_allocator)(OrtAllocator**);
    void (*release_env)(OrtEnv*);
    void (*release_status)(OrtStatus*);
    void (*release_memory)(OrtMemoryInfo*);
    void (*release_session)(OrtSession*);
    void (*release_value)(OrtValue*);
    void (*release_info)(OrtTensorInfo*);
    void (*release_options)(OrtSessionOptions*);

    explicit OrtApi(const OrtEntry* table) {
        const auto take = [table](auto& function, std::size_t place) {
            function = reinterpret_cast<std::decay_t<decltype(function)>>(table[place]);
        };
        take(message, 2), take(create_env, 3), take(create_session, 8), take(run, 9), take(create_options, 10);
        take(set_intra_threads, 24), take(set_inter_threads, 25), take(input_count, 30), take(output_count, 31);
        take(input_name, 36), take(output_name, 37), take(create_tensor, 49), take(tensor_data, 51);
        take(element_type, 60), take(axis_count, 61), take(axes, 62), take(tensor_info, 65);
        take(create_cpu_memory, 69), take(free, 76), take(default_allocator, 78), take(release_env, 92);
        take(release_status, 93), take(release_memory, 94), take(release_session, 95), take(release_value, 96);
        take(release_info, 99), take(release_options, 100);
    }

    void check(OrtStatus* status) const {
        if (status == nullptr) return;
        const std::string problem = first_line(message(status));
        release_status(status);
        throw Error(problem);
    }

    // Returns what `create(..., T**)` makes, released when the handle goes.
    template <typename T, typename Create, typename... Arguments>
    std::unique_ptr<T, void (*)(T*)> make(void (*release)(T*), Create create, Arguments... arguments) const {
        T* made = nullptr;
        check(create(arguments..., &made));
        return {made, release};
    }
};

template <typename T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

// The library is never closed: it runs threads that would outlive their code.
const OrtApiBase& load_onnxruntime(const fs::path& given) {
    const char* variable = std::getenv("SDKIT_ONNXRUNTIME");
    const std::string named = !given.empty() ? given.string() : variable == nullptr ? "" : variable;
    const std::vector<std::string> usual = {"libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.dylib"};
    std::string problem;
    for (const std::string& name : named.empty() ? usual : std::vector<std::string>{named}) {
        void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        void* symbol = library == nullptr ? nullptr : dlsym(library, "OrtGetApiBase");
        if (symbol != nullptr) return *reinterpret_cast<const OrtApiBase* (*)()>(symbol)();
        if (problem.empty()) problem = first_line(dlerror());
    }
    throw MissingExtraError("ONNX Runtime was not found (" + problem +
                            "); let SDKIT_ONNXRUNTIME name libonnxruntime.so, which is part of ONNX Runtime's releases "
                            "and of `pip install onnxruntime`");
}

OrtApi open_api(const OrtApiBase& base) {
    const OrtEntry* table = base.api(ort_version);
    if (table == nullptr) {
        throw MissingExtraError(std::string("ONNX Runtime ") + base.version() + " is too old; 1.14 or newer is needed");
    }
    return OrtApi(table);
}

int usable_processors() {
#ifdef __linux__
    cpu_set_t set;  // in a container fewer than the machine has
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::vector<const char*> pointers(const std::vector<std::string>& names) {
    std::vector<const char*> found;
    for (const std::string& name : names) found.push_back(name.c_str());
    return found;
}

class OnnxBackend : public Backend {
public:
    OnnxBackend(const Bundle& bundle, const Options& options)
        : base_(load_onnxruntime(options.onnxruntime)),
          api_(open_api(base_)),
          env_(api_.make(api_.release_env, api_.create_env, ort_errors_only, "sdkit")),
          memory_(api_.make(api_.release_memory, api_.create_cpu_memory, ort_arena_allocator, ort_default_memory)) {
        // All are opened now, so that running needs no lock.
        for (const std::string& graph : bundle.manifest().graph_names())
            graphs_.emplace(graph, open(bundle, graph, options.threads));
    }

    std::string name() const override { return "onnx"; }

    Tensors run(const std::string& graph, const Inputs& inputs) const override {
        const Graph& found = graphs_.at(graph);
        std::vector<std::string> names;
        std::vector<Handle<OrtValue>> values;
        for (const auto& [input, tensor] : inputs) {
            names.push_back(input);
            values.push_back(wrap(tensor));
        }
        std::vector<const OrtValue*> given;
        for (const auto& value : values) given.push_back(value.get());
        std::vector<OrtValue*> made(found.outputs.size(), nullptr);
        OrtStatus* status = api_.run(found.session.get(), nullptr, pointers(names).data(), given.data(), given.size(),
                                     pointers(found.outputs).data(), made.size(), made.data());
        std::vector<Handle<OrtValue>> results;
        for (OrtValue* value : made) results.emplace_back(value, api_.release_value);
        api_.check(status);
        Tensors outputs;
        for (std::size_t i = 0; i < made.size(); ++i) outputs.emplace(found.outputs[i], copy(graph, made[i]));
        return outputs;
    }

private:
    struct Graph {
        Handle<OrtSession> session;
        std::vector<std::string> outputs;
    };

    Graph open(const Bundle& bundle, const std::string& graph, int threads) const {
        const fs::path file = bundle.graph_file(graph, "onnx");
        const std::string model = read_bytes(file);
        const auto options = api_.make(api_.release_options, api_.create_options);
        api_.check(api_.set_intra_threads(options.get(), threads > 0 ? threads : usable_processors()));
        api_.check(api_.set_inter_threads(options.get(), 1));
        Handle<OrtSession> session(nullptr, api_.release_session);
        try {
            session = api_.make(api_.release_session, api_.create_session, static_cast<const OrtEnv*>(env_.get()),
                                static_cast<const void*>(model.data()), model.size(),
                                static_cast<const OrtSessionOptions*>(options.get()));
        } catch (const Error& error) {
            throw BundleError(file.string() + " cannot be loaded by onnxruntime " + base_.version() + ": " +
                              error.what());
        }
        const auto inputs = names(session.get(), api_.input_count, api_.input_name);
        auto outputs = names(session.get(), api_.output_count, api_.output_name);
        const GraphSpec& spec = bundle.manifest().graphs.at(graph);
        const auto same = [](const std::vector<std::string>& a, const std::vector<std::string>& b) {
            return std::set<std::string>(a.begin(), a.end()) == std::set<std::string>(b.begin(), b.end());
        };
        if (!same(inputs, spec.inputs) || !same(outputs, spec.outputs)) {
            throw ManifestError(bundle.path().string() + ": graph '" + graph +
                                "' has other inputs or outputs than the manifest says");
        }
        return {std::move(session), std::move(outputs)};
    }

    template <typename Count, typename NameOf>
    std::vector<std::string> names(const OrtSession* session, Count count, NameOf name_of) const {
        OrtAllocator* allocator = nullptr;  // the library's own, not to be released
        api_.check(api_.default_allocator(&allocator));
        std::size_t size = 0;
        api_.check(count(session, &size));
        std::vector<std::string> found;
        for (std::size_t i = 0; i < size; ++i) {
            char* characters = nullptr;
            api_.check(name_of(session, i, allocator, &characters));
            found.emplace_back(characters);
            api_.check(api_.free(allocator, characters));
        }
        return found;
    }

    // A view: the tensor must outlive it. Inputs are only read, though the interface asks for a mutable pointer.
    Handle<OrtValue> wrap(const Tensor& tensor) const {
        const bool whole = tensor.dtype() == DType::uint8;
        const void* data = whole ? static_cast<const void*>(tensor.bytes().data()) : tensor.floats().data();
        const std::size_t bytes = tensor.size() * (whole ? sizeof(std::uint8_t) : sizeof(float));
        return api_.make(api_.release_value, api_.create_tensor, static_cast<const OrtMemoryInfo*>(memory_.get()),
                         const_cast<void*>(data), bytes, tensor.shape().data(), tensor.shape().size(),
                         whole ? ort_uint8 : ort_float);
    }

    Tensor copy(const std::string& graph, OrtValue* value) const {
        const auto info = api_.make(api_.release_info, api_.tensor_info, static_cast<const OrtValue*>(value));
        int type = 0;
        std::size_t axes = 0;
        void* data = nullptr;
        api_.check(api_.element_type(info.get(), &type));
        api_.check(api_.axis_count(info.get(), &axes));
        Shape shape(axes);
        api_.check(api_.axes(info.get(), shape.data(), axes));
        api_.check(api_.tensor_data(value, &data));
        if (type != ort_float) throw BundleError("graph '" + graph + "' has an output that is not float32");
        const std::int64_t size = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
        const float* values = static_cast<const float*>(data);
        return {std::move(shape), std::vector<float>(values, values + size)};
    }

    const OrtApiBase& base_;
    OrtApi api_;
    Handle<OrtEnv> env_;
    Handle<OrtMemoryInfo> memory_;
    std::map<std::string, Graph> graphs_;
};

// Arithmetic.

std::size_t product(const Shape& shape, std::size_t first_axis = 0) {
    std::size_t size = 1;
    for (std::size_t i = first_axis; i < shape.size(); ++i) size *= static_cast<std::size_t>(shape[i]);
    return size;
}

// Returns the high 64 bits of a product; standard C++ has no wider integer.
std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
    const std::uint64_t low_mask = 0xFFFFFFFF;
    const std::uint64_t a0 = a & low_mask, a1 = a >> 32, b0 = b & low_mask, b1 = b >> 32;
    const std::uint64_t middle = a1 * b0 + ((a0 * b0) >> 32);
    return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & low_mask)) >> 32);
}

// mean + std * noise, all of one shape.
Tensor sample(const Tensor& mean, const Tensor& std, const Tensor& noise) {
    std::vector<float> values = mean.floats();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += std.floats()[i] * noise.floats()[i];
    return {mean.shape(), std::move(values)};
}

void check_float_image(const Tensor& x, const std::string& where) {
    const std::vector<float>& values = x.floats();
    const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad != values.end()) {
        std::vector<std::string> index(x.shape().size());
        auto rest = static_cast<std::size_t>(bad - values.begin());
        for (std::size_t i = 0; i < index.size(); ++i) {
            const std::size_t stride = product(x.shape(), i + 1);
            index[i] = std::to_string(rest / stride);
            rest %= stride;
        }
        throw DataError(where + " holds NaN or infinite pixels, the first at [" + join(index) +
                        "]; images must be complete");
    }
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    if (*low < 0.0F || *high > 1.0F) {
        std::array<char, 128> range{};
        std::snprintf(range.data(), range.size(), "from %g to %g", static_cast<double>(*low),
                      static_cast<double>(*high));
        throw DataError(where + " holds pixels " + range.data() + "; float32 images lie in [0, 1], or store uint8");
    }
}

// Checks values of sequences whose shape and type are good.
void check_values(const Element& element, const Tensor& x, const std::string& where) {
    if (element.dtype == DType::uint8) return;
    if (kinds().at(element.kind).pictorial) return check_float_image(x, where);
    if (std::any_of(x.floats().begin(), x.floats().end(), [](float v) { return std::isinf(v); })) {
        throw DataError(where + " holds infinite values; NaN stands for 'not observed', infinity has no meaning");
    }
}

// The same values in another shape.
Tensor reshaped(const Tensor& x, Shape shape) {
    if (x.dtype() == DType::uint8) return {std::move(shape), x.bytes()};
    return {std::move(shape), x.floats()};
}

// Calls `work(first, last)` for every part of at most `size` of `count` rows.
template <typename Work>
void each_part(std::int64_t count, std::int64_t size, Work work) {
    for (std::int64_t first = 0; first < count; first += size) work(first, std::min(first + size, count));
}

// Runs graphs one after the other over a pool of tensors: each takes by name what the manifest lists, and its outputs
// go into the pool. A mean stands for its code until a sample is there.
void chain(const Backend& backend, const std::map<std::string, GraphSpec>& graphs,
           const std::vector<std::string>& names, Tensors& pool) {
    for (const std::string& name : names) {
        Inputs inputs;
        for (const std::string& input : graphs.at(name).inputs) {
            const auto given = pool.find(input);
            if (given == pool.end()) {
                throw ManifestError("graph '" + name + "' takes '" + input +
                                    "', which no graph before it gives; do not use this bundle");
            }
            inputs.emplace(input, given->second);
        }
        Tensors found = backend.run(name, inputs);
        for (auto& [output, tensor] : found) pool.insert_or_assign(output, std::move(tensor));
        for (const auto& [mean, code] : rules("means").items()) {
            if (found.count(mean) > 0) pool.emplace(code.get<std::string>(), pool.at(mean));
        }
    }
}

std::uint64_t number(std::uint64_t first, std::int64_t offset) { return first + static_cast<std::uint64_t>(offset); }

}  // namespace

std::string text(const Shape& shape) { return "(" + join(words(shape)) + (shape.size() == 1 ? ",)" : ")"); }

std::string text(DType dtype) { return dtype == DType::uint8 ? "uint8" : "float32"; }

// Tensor.

namespace {

void check_filled(const Shape& shape, std::size_t size) {
    const bool negative = std::any_of(shape.begin(), shape.end(), [](std::int64_t n) { return n < 0; });
    if (negative || product(shape) != size) {
        throw DataError(std::to_string(size) + " values do not fill the shape " + text(shape));
    }
}

}  // namespace

Tensor::Tensor(Shape shape, std::vector<float> values) : shape_(std::move(shape)), values_(std::move(values)) {
    check_filled(shape_, size());
}

Tensor::Tensor(Shape shape, std::vector<std::uint8_t> values) : shape_(std::move(shape)), values_(std::move(values)) {
    check_filled(shape_, size());
}

const std::vector<float>& Tensor::floats() const {
    if (dtype() != DType::float32) throw DataError("an array is uint8; expected float32");
    return std::get<std::vector<float>>(values_);
}

const std::vector<std::uint8_t>& Tensor::bytes() const {
    if (dtype() != DType::uint8) throw DataError("an array is float32; expected uint8");
    return std::get<std::vector<std::uint8_t>>(values_);
}

std::size_t Tensor::size() const {
    return std::visit([](const auto& all) { return all.size(); }, values_);
}

Tensor Tensor::rows(std::int64_t first, std::int64_t last) const {
    if (first < 0 || first > last || last > axis(0)) {
        throw DataError("rows " + std::to_string(first) + " to " + std::to_string(last) + " of the shape " +
                        text(shape_));
    }
    Shape shape = shape_;
    shape[0] = last - first;
    const auto row = static_cast<std::ptrdiff_t>(product(shape_, 1));
    return std::visit(
        [&](const auto& values) {
            const auto begin = values.begin();
            return Tensor(shape, std::decay_t<decltype(values)>(begin + first * row, begin + last * row));
        },
        values_);
}

Tensor Tensor::join(const std::vector<Tensor>& parts) {
    if (parts.empty()) throw DataError("there are no arrays to join");
    Tensor whole = parts.front();
    for (std::size_t i = 1; i < parts.size(); ++i) {
        std::visit(
            [&](auto& values) {
                const auto& more = std::get<std::decay_t<decltype(values)>>(parts[i].values_);
                values.insert(values.end(), more.begin(), more.end());
            },
            whole.values_);
        whole.shape_[0] += parts[i].axis(0);
    }
    return whole;
}

// Element.

std::string Element::describe() const { return kind + " " + text(shape) + " " + text(dtype); }

void Element::check(const Tensor& x, const std::string& where) const {
    const std::string expected = "(B, T, " + sdkit::join(words(shape)) + ") " + text(dtype);
    if (x.shape().size() != 2 + shape.size() || !std::equal(shape.begin(), shape.end(), x.shape().begin() + 2)) {
        throw DataError(where + " has shape " + text(x.shape()) + "; expected " + expected);
    }
    if (x.dtype() != dtype) {
        throw DataError(where + " is " + text(x.dtype()) + "; expected " + expected +
                        ": convert it first, nothing is cast silently");
    }
    if (x.axis(0) < 1) throw DataError(where + " is empty: it holds no sequence");
    if (x.axis(1) < 2) {
        throw DataError(where + " has T = " + std::to_string(x.axis(1)) +
                        "; a sequence needs at least 2 elements: one is the anchor of the static code");
    }
    check_values(*this, x, where);
}

Tensor Element::cast(const Tensor& x) const {
    const std::vector<float>& values = x.floats();
    if (dtype == DType::uint8) {
        std::vector<std::uint8_t> levels(values.size());
        std::transform(values.begin(), values.end(), levels.begin(),
                       [](float v) { return static_cast<std::uint8_t>(std::clamp(std::nearbyint(v), 0.0F, 255.0F)); });
        return {x.shape(), std::move(levels)};
    }
    if (!kinds().at(kind).pictorial) return x;
    std::vector<float> clipped(values.size());
    std::transform(values.begin(), values.end(), clipped.begin(), [](float v) { return std::clamp(v, 0.0F, 1.0F); });
    return {x.shape(), std::move(clipped)};
}

// The contract.

std::string contract() { return contract_text; }

const std::map<std::string, Kind>& kinds() {
    static const std::map<std::string, Kind> all = [] {
        std::map<std::string, Kind> found;
        for (const auto& [name, kind] : rules("kinds").items()) {
            found[name] = {kind.at("axes").get<std::vector<std::string>>(),
                           kind.at("plural").get<std::string>(),
                           kind.at("dtypes").get<std::vector<std::string>>(),
                           kind.at("pictorial").get<bool>(),
                           kind.at("incomplete").get<bool>(),
                           kind.at("presumed").get<bool>()};
        }
        return found;
    }();
    return all;
}

std::vector<std::string> Abilities::verbs() const {
    std::vector<std::string> found = keys(rules("verbs"));
    found.erase(
        std::remove_if(found.begin(), found.end(), [&](const auto& verb) { return refusals.count(verb) > 0; }),
        found.end());
    return found;
}

void Abilities::require(const std::string& verb) const {
    const auto reason = refusals.find(verb);
    if (reason != refusals.end()) throw CapabilityError("this model cannot " + verb + ": " + reason->second);
}

void Abilities::require_steps(std::int64_t steps) const {
    if (!max_steps || steps <= *max_steps) return;
    throw ConfigError("the prior of this model draws at most " + std::to_string(*max_steps) + " steps, not " +
                      std::to_string(steps) + "; its method (" + method + ") sets the limit when it is trained");
}

std::vector<std::string> Manifest::graph_names() const {
    std::vector<std::string> names = keys(rules("graphs"));
    names.erase(std::remove_if(names.begin(), names.end(), [&](const auto& name) { return graphs.count(name) == 0; }),
                names.end());
    return names;
}

// Bundle.

Bundle Bundle::open(const fs::path& path) {
    const fs::path folder = find_bundle(path), file = folder / "manifest.json";
    Bundle bundle(folder, parse_manifest(read_bytes(file), file.string()));
    for (const auto& [name, graph] : bundle.manifest().graphs) {
        for (const auto& [format, spec] : graph.files) check_file(folder, spec);
    }
    for (const auto& [name, spec] : bundle.manifest().files) check_file(folder, spec);
    return bundle;
}

fs::path Bundle::graph_file(const std::string& graph, const std::string& format) const {
    const auto& files = manifest_.graphs.at(graph).files;
    if (const auto found = files.find(format); found != files.end()) return path_ / found->second.path;
    std::vector<std::string> whole;
    for (const char* candidate : {"onnx", "torchscript"}) {
        const auto& graphs = manifest_.graphs;
        const bool all = std::all_of(graphs.begin(), graphs.end(),
                                     [&](const auto& entry) { return entry.second.files.count(candidate) > 0; });
        if (all) whole.emplace_back(candidate);
    }
    throw BundleError(path_.string() + " holds no " + format + " graphs (it holds: " +
                      (whole.empty() ? "none" : join(whole)) + "); `sdkit export --format " + format + "`");
}

std::string sha256(const std::string& bytes) {
    // FIPS 180-4. The constants are the first bits of the fractional parts of the roots of the first primes.
    using Word = std::uint32_t;
    static const auto constants = [] {
        std::pair<std::array<Word, 64>, std::array<Word, 8>> found;
        const auto fraction = [](long double root) {
            return static_cast<Word>((root - std::floor(root)) * 4294967296.0L);
        };
        std::size_t count = 0;
        for (int candidate = 2; count < 64; ++candidate) {
            bool prime = true;
            for (int divisor = 2; divisor * divisor <= candidate; ++divisor) prime = prime && candidate % divisor != 0;
            if (!prime) continue;
            found.first[count] = fraction(std::cbrt(static_cast<long double>(candidate)));
            if (count < 8) found.second[count] = fraction(std::sqrt(static_cast<long double>(candidate)));
            ++count;
        }
        return found;
    }();
    const auto& round = constants.first;
    std::array<Word, 8> state = constants.second;
    const auto rotate = [](Word x, int by) { return (x >> by) | (x << (32 - by)); };

    std::string padding(1 + (119 - bytes.size() % 64) % 64, '\0');
    padding[0] = '\x80';
    for (int shift = 56; shift >= 0; shift -= 8) padding += static_cast<char>((bytes.size() * 8) >> shift);
    const auto byte = [&](std::size_t i) {
        return static_cast<Word>(static_cast<unsigned char>(i < bytes.size() ? bytes[i] : padding[i - bytes.size()]));
    };
    for (std::size_t block = 0; block < bytes.size() + padding.size(); block += 64) {
        std::array<Word, 64> w{};
        for (std::size_t i = 0; i < 16; ++i) {
            const std::size_t at = block + 4 * i;
            w[i] = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
        }
        for (std::size_t i = 16; i < 64; ++i) {
            const Word s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
            const Word s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        auto [a, b, c, d, e, f, g, h] = state;
        for (std::size_t i = 0; i < 64; ++i) {
            const Word s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
            const Word t1 = h + s1 + ((e & f) ^ (~e & g)) + round[i] + w[i];
            const Word s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
            const Word t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        const std::array<Word, 8> mixed = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) state[i] += mixed[i];
    }
    std::string digest;
    for (const Word word : state) {
        for (int shift = 28; shift >= 0; shift -= 4) digest += "0123456789abcdef"[(word >> shift) & 15];
    }
    return digest;
}

// Noise.

std::array<std::uint64_t, 4> philox(std::array<std::uint64_t, 2> key, std::array<std::uint64_t, 4> counter) {
    constexpr std::uint64_t m0 = 0xD2E7470EE14C6C93, m1 = 0xCA5A826395121157;
    for (int round = 0; round < 10; ++round) {
        const auto [c0, c1, c2, c3] = counter;
        counter = {multiply_high(m1, c2) ^ c1 ^ key[0], m1 * c2, multiply_high(m0, c0) ^ c3 ^ key[1], m0 * c0};
        key[0] += 0x9E3779B97F4A7C15;
        key[1] += 0xBB67AE8584CAA73B;
    }
    return counter;
}

Tensor standard_normal(std::uint64_t seed, Purpose purpose, std::uint64_t first, const Shape& shape) {
    constexpr double two53 = 9007199254740992.0, two_pi = 6.283185307179586;
    const std::size_t size = product(shape, 1);
    std::vector<float> values;
    values.reserve(product(shape));
    for (std::int64_t row = 0; row < shape.at(0); ++row) {
        std::array<std::uint64_t, 4> words{};
        for (std::size_t i = 0; i < size; ++i) {
            if (i % 4 == 0)
                words = philox({seed, static_cast<std::uint64_t>(purpose)}, {i / 4 + 1, number(first, row), 0, 0});
            const std::size_t pair = i % 4 / 2 * 2;
            const double u = (static_cast<double>(words[pair] >> 11) + 1.0) / two53;
            const double angle = two_pi * static_cast<double>(words[pair + 1] >> 11) / two53;
            const double radius = std::sqrt(-2.0 * std::log(u));
            values.push_back(static_cast<float>(radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle))));
        }
    }
    return {shape, std::move(values)};
}

// Streams.

Stream::Stream(const Manifest& manifest, const Backend& backend, std::int64_t batch)
    : element_(manifest.element), graphs_(manifest.graphs), backend_(&backend) {
    manifest.abilities.require("stream");
    const std::int64_t width = manifest.widths.state;
    if (batch < 1) throw ConfigError("batch = " + std::to_string(batch) + "; there must be at least 1 stream");
    state_ = Tensor({batch, width}, std::vector<float>(static_cast<std::size_t>(batch * width)));
}

Step Stream::push(const Tensor& x) {
    Shape wanted = element_.shape;
    wanted.insert(wanted.begin(), batch());
    if (x.shape() != wanted || x.dtype() != element_.dtype) {
        throw DataError("x is " + text(x.shape()) + " " + text(x.dtype()) + "; expected " + text(wanted) + " " +
                        text(element_.dtype) + ", an element a stream");
    }
    Shape clips = wanted;
    clips.insert(clips.begin() + 1, 1);
    Tensors pool = {{"x", reshaped(x, clips)}};  // sequences of one element
    check_values(element_, pool.at("x"), "x");
    chain(*backend_, graphs_, {"encoder"}, pool);
    pool.insert_or_assign("element_features", pool.at("features"));
    pool.insert_or_assign("state", state_);
    chain(*backend_, graphs_, {step_graph, "decoder"}, pool);
    const Tensor& dynamic = pool.at("dynamic_mean");
    state_ = pool.at("next_state");
    return {pool.at("static_mean"), reshaped(dynamic, {batch(), dynamic.axis(2)}), reshaped(pool.at("x"), wanted)};
}

void Stream::reset() { state_ = Tensor(state_.shape(), std::vector<float>(state_.size())); }

void Stream::reset(const std::vector<std::int64_t>& rows) {
    std::vector<float> values = state_.floats();
    for (const std::int64_t row : rows) {
        if (row < 0 || row >= batch()) {
            throw ConfigError("rows = [" + join(words(rows)) + "]: there are " + std::to_string(batch()) +
                              " streams, 0 to " + std::to_string(batch() - 1));
        }
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * state_.axis(1));
        std::fill(begin, begin + static_cast<std::ptrdiff_t>(state_.axis(1)), 0.0F);
    }
    state_ = Tensor(state_.shape(), std::move(values));
}

void Stream::set_state(Tensor state) {
    if (state.shape().size() != 2 || state.axis(1) != state_.axis(1) || state.axis(0) < 1 ||
        state.dtype() != DType::float32) {
        throw DataError("state is " + text(state.shape()) + " " + text(state.dtype()) + "; expected (B, " +
                        std::to_string(state_.axis(1)) + ") float32, a row a stream");
    }
    state_ = std::move(state);
}

// Runtime.

std::unique_ptr<Backend> onnx_backend(const Bundle& bundle, const Options& options) {
    // The clearer message of the two, where both graphs and library are missing.
    for (const std::string& graph : bundle.manifest().graph_names()) bundle.graph_file(graph, "onnx");
    return std::make_unique<OnnxBackend>(bundle, options);
}

Runtime Runtime::open(const fs::path& bundle, const Options& options) {
    Bundle opened = Bundle::open(bundle);
    auto backend = onnx_backend(opened, options);
    return {std::move(opened), std::move(backend), options.batch_size};
}

Runtime::Runtime(Bundle bundle, std::unique_ptr<Backend> backend, std::int64_t batch_size)
    : bundle_(std::move(bundle)), backend_(std::move(backend)), batch_size_(batch_size) {
    if (batch_size_ < 1) {
        throw ConfigError("batch_size = " + std::to_string(batch_size_) + "; it must be at least 1");
    }
}

Codes Runtime::encode(const Tensor& x, std::optional<std::uint64_t> seed, std::uint64_t first) const {
    abilities().require("encode");
    element().check(x);
    std::vector<Tensor> statics, dynamics;
    each_part(x.axis(0), batch_size_, [&](std::int64_t from, std::int64_t to) {
        Codes codes = encode_part(x.rows(from, to), seed, number(first, from));
        statics.push_back(std::move(codes.static_));
        dynamics.push_back(std::move(codes.dynamic));
    });
    return {Tensor::join(statics), Tensor::join(dynamics)};
}

Tensor Runtime::decode(const Codes& codes) const { return decode_outputs(codes).at("x"); }

Tensors Runtime::decode_outputs(const Codes& codes) const {
    abilities().require("decode");
    check_codes(codes);
    std::map<std::string, std::vector<Tensor>> parts;
    each_part(codes.static_.axis(0), batch_size_, [&](std::int64_t from, std::int64_t to) {
        for (auto& [name, tensor] : decode_part(codes.static_.rows(from, to), codes.dynamic.rows(from, to))) {
            parts[name].push_back(tensor);
        }
    });
    Tensors outputs;
    for (const auto& [name, tensors] : parts) outputs.emplace(name, Tensor::join(tensors));
    return outputs;
}

Tensor Runtime::reconstruct(const Tensor& x) const {
    abilities().require("reconstruct");
    element().check(x);
    return each_clip(x.axis(0), [&](std::int64_t from, std::int64_t to) {
        return run("reconstruct", {{"x", x.rows(from, to)}});
    });
}

std::pair<Tensor, Tensor> Runtime::swap(const Tensor& a, const Tensor& b) const {
    abilities().require("swap");
    if (a.axis(0) != b.axis(0)) {
        throw DataError("swap pairs sequences one to one; a has " + std::to_string(a.axis(0)) + " and b has " +
                        std::to_string(b.axis(0)));
    }
    const Codes codes_a = encode(a), codes_b = encode(b);
    return {decode({codes_a.static_, codes_b.dynamic}), decode({codes_b.static_, codes_a.dynamic})};
}

Tensor Runtime::generate(std::int64_t count, std::int64_t steps, std::uint64_t seed, std::uint64_t first) const {
    abilities().require("generate");
    if (count < 1 || steps < 2) {
        throw ConfigError("generate(count=" + std::to_string(count) + ", steps=" + std::to_string(steps) +
                          "): count must be at least 1 and steps at least 2");
    }
    abilities().require_steps(steps);
    return each_clip(count, [&](std::int64_t from, std::int64_t to) {
        const std::uint64_t start = number(first, from);
        return run("generate", {{"static", static_prior(to - from, seed, start)},
                                {"noise", dynamic_noise(Purpose::dynamic_prior, to - from, steps, seed, start)}});
    });
}

Tensor Runtime::resample_static(const Tensor& x, std::uint64_t seed, std::uint64_t first) const {
    abilities().require("resample_static");
    element().check(x);
    return each_clip(x.axis(0), [&](std::int64_t from, std::int64_t to) {
        // The dynamic codes may depend on the static code that x has: it is drawn anew after they are known.
        const Codes codes = encode_part(x.rows(from, to), std::nullopt, 0);
        return decode_part(static_prior(to - from, seed, number(first, from)), codes.dynamic).at("x");
    });
}

Tensor Runtime::resample_dynamic(const Tensor& x, std::uint64_t seed, std::uint64_t first) const {
    abilities().require("resample_dynamic");
    element().check(x);
    abilities().require_steps(x.axis(1));
    return each_clip(x.axis(0), [&](std::int64_t from, std::int64_t to) {
        const Purpose purpose = Purpose::dynamic_prior;
        return run("resample_dynamic",
                   {{"x", x.rows(from, to)},
                    {"noise", dynamic_noise(purpose, to - from, x.axis(1), seed, number(first, from))}});
    });
}

// Runs a verb's graphs over a pool, and returns the decoded x.
Tensor Runtime::run(const char* verb, Tensors pool) const {
    chain(*backend_, manifest().graphs, chain_of(verb), pool);
    return pool.at("x");
}

Tensor Runtime::each_clip(std::int64_t count, const std::function<Tensor(std::int64_t, std::int64_t)>& make) const {
    std::vector<Tensor> clips;
    each_part(count, batch_size_, [&](std::int64_t from, std::int64_t to) { clips.push_back(make(from, to)); });
    return Tensor::join(clips);
}

Codes Runtime::encode_part(Tensor x, std::optional<std::uint64_t> seed, std::uint64_t first) const {
    const std::int64_t batch = x.axis(0), steps = x.axis(1);
    Tensors pool;
    pool.emplace("x", std::move(x));
    const auto go = [&](const std::vector<std::string>& names) { chain(*backend_, manifest().graphs, names, pool); };
    if (!seed) {
        go(chain_of("encode"));
        return {pool.at("static_mean"), pool.at("dynamic_mean")};
    }
    go({"encoder", "static"});
    const Tensor& mean = pool.at("static_mean");
    const Tensor noise = standard_normal(*seed, Purpose::static_posterior, first, mean.shape());
    pool.insert_or_assign("static", sample(mean, pool.at("static_std"), noise));
    pool.insert_or_assign("noise", dynamic_noise(Purpose::dynamic_posterior, batch, steps, *seed, first));
    if (manifest().graphs.count(dynamic_posterior_graph) > 0) {
        go({dynamic_posterior_graph});
        return {pool.at("static"), pool.at("dynamic")};
    }
    go({"dynamic"});  // on the drawn static code, where it takes one
    return {pool.at("static"), sample(pool.at("dynamic_mean"), pool.at("dynamic_std"), pool.at("noise"))};
}

Tensors Runtime::decode_part(const Tensor& static_, const Tensor& dynamic) const {
    Tensors pool = {{"static", static_}, {"dynamic", dynamic}};
    chain(*backend_, manifest().graphs, chain_of("decode"), pool);
    Tensors outputs;
    for (const std::string& name : manifest().graphs.at("decoder").outputs) outputs.emplace(name, pool.at(name));
    return outputs;
}

Tensor Runtime::static_prior(std::int64_t count, std::uint64_t seed, std::uint64_t first) const {
    const Shape shape = {count, manifest().widths.static_size};
    Tensors pool = {{"noise", standard_normal(seed, Purpose::static_prior, first, shape)}};
    if (manifest().graphs.count(static_prior_graph) == 0) return pool.at("noise");
    chain(*backend_, manifest().graphs, {static_prior_graph}, pool);
    return pool.at("static");
}

Tensor Runtime::dynamic_noise(Purpose purpose, std::int64_t count, std::int64_t steps, std::uint64_t seed,
                              std::uint64_t first) const {
    return standard_normal(seed, purpose, first, {count, steps, manifest().widths.dynamic_size});
}

void Runtime::check_codes(const Codes& codes) const {
    const Shape &s = codes.static_.shape(), &d = codes.dynamic.shape();
    const Widths& m = manifest().widths;
    const bool fits = s.size() == 2 && d.size() == 3 && s[1] == m.static_size && d[2] == m.dynamic_size && d[1] >= 2 &&
                      s[0] == d[0] && s[0] > 0 && codes.static_.dtype() == DType::float32 &&
                      codes.dynamic.dtype() == DType::float32;
    if (fits) return;
    throw DataError("codes are static " + text(s) + " " + text(codes.static_.dtype()) + " and dynamic " + text(d) +
                    " " + text(codes.dynamic.dtype()) + "; expected static (B, " + std::to_string(m.static_size) +
                    ") and dynamic (B, T, " + std::to_string(m.dynamic_size) + "), float32, T >= 2");
}

}  // namespace sdkit
