# The Vagrantfile within the box that box.sh makes: how libvirt boots it.
Vagrant.configure("2") do |config|
  config.ssh.insert_key = false
  config.ssh.private_key_path = File.expand_path("key", __dir__)
  config.vm.provider "libvirt" do |libvirt|
    libvirt.graphics_type = "none"
    libvirt.video_type = "none"
    libvirt.kernel = File.expand_path("vmlinuz", __dir__)
    libvirt.initrd = File.expand_path("initrd", __dir__)
    libvirt.cmd_line = "root=/dev/vda rw console=ttyS0"
  end
end
