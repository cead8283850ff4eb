# Loads the Vagrantfile without Vagrant, and prints a line for each thing that it says: ruby vagrantfile.rb MACHINE VERSION
# Vagrant itself takes a second each time, and is never on another machine or of another version.
require "rbconfig"

machine, version = ARGV
RbConfig::CONFIG["host_cpu"] = machine

module Vagrant
end
Vagrant::VERSION = version

# Has every setting but those that it is said to lack.
class Settings
  def initialize(path, lacks)
    @path = path
    @lacks = lacks
  end

  def respond_to_missing?(name, _private)
    !@lacks.include?(name)
  end

  def method_missing(name, *arguments, &block)
    return super unless respond_to?(name)
    return Settings.new("#{@path}#{name}.", @lacks) if arguments.empty?
    said = "#{@path}#{name} #{arguments.map(&:inspect).join(", ")}"
    return puts(said) unless block
    lacks = @lacks + (arguments == ["qemu"] ? [:cpus=] : [:smp=])
    block.call(*[Settings.new("#{said}: ", lacks), Settings.new("#{said}: ", @lacks)].take(block.arity))
  end
end

def Vagrant.configure(_version)
  yield Settings.new("", Vagrant::VERSION < "2.4" ? [:box_architecture=] : [])
end

load File.expand_path("../../Vagrantfile", __dir__)
